/* The C API: load, quantize, run. Functions that can fail return a status, and bitfold_last_error() has the message.
 * Functions are safe from several threads, except that a session serves one caller at a time. */
#ifndef BITFOLD_C_H
#define BITFOLD_C_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(BITFOLD_C_BUILD)
#define BITFOLD_API __attribute__((visibility("default")))
#else
#define BITFOLD_API
#endif

typedef enum {
  BITFOLD_OK = 0,
  BITFOLD_ERROR = 1, /* see bitfold_last_error() */
} bitfold_status;

/* Element types. */
typedef enum {
  BITFOLD_FLOAT32 = 0,
  BITFOLD_FLOAT64 = 1,
  BITFOLD_FLOAT16 = 2,
  BITFOLD_BFLOAT16 = 3,
  BITFOLD_INT8 = 4,
  BITFOLD_UINT8 = 5,
  BITFOLD_INT16 = 6,
  BITFOLD_UINT16 = 7,
  BITFOLD_INT32 = 8,
  BITFOLD_UINT32 = 9,
  BITFOLD_INT64 = 10,
  BITFOLD_UINT64 = 11,
  BITFOLD_BOOL = 12,  /* one byte, 0 or 1 */
  BITFOLD_OTHER = 13, /* strings, sequences and types of fewer than 8 bits, which the C API cannot pass */
} bitfold_type;

typedef struct bitfold_model bitfold_model;
typedef struct bitfold_session bitfold_session;

/* A dense row-major array. */
typedef struct {
  bitfold_type type;
  size_t rank;
  const int64_t* shape; /* rank sizes */
  const void* data;     /* aligned for its type */
} bitfold_tensor;

/* An input or output of a model. The pointers live as long as the model. */
typedef struct {
  const char* name;
  bitfold_type type;
  size_t rank;
  const int64_t* shape; /* rank sizes; -1 is known only at run time; null if the shape is unknown */
} bitfold_value;

/* "0.1.0" */
BITFOLD_API const char* bitfold_version(void);

/* The message of the last function that failed in the calling thread; "" before the first failure. */
BITFOLD_API const char* bitfold_last_error(void);

/* Loads an ONNX file. Free the model with bitfold_free_model(). */
BITFOLD_API bitfold_status bitfold_load(const char* path, bitfold_model** model);

/* The same from memory, which may be freed afterwards. */
BITFOLD_API bitfold_status bitfold_load_bytes(const void* bytes, size_t size, bitfold_model** model);

/* Writes an ONNX file. On failure nothing is written. */
BITFOLD_API bitfold_status bitfold_save(const bitfold_model* model, const char* path);

BITFOLD_API size_t bitfold_input_count(const bitfold_model* model);
BITFOLD_API size_t bitfold_output_count(const bitfold_model* model);
BITFOLD_API bitfold_status bitfold_input(const bitfold_model* model, size_t index, bitfold_value* value);
BITFOLD_API bitfold_status bitfold_output(const bitfold_model* model, size_t index, bitfold_value* value);

/* Quantizes a float model, as the command `bitfold quantize` does. `data` is a path to about 100 samples in any form
 * that the command takes, or null to quantize without data. `recipe_json` is a JSON object with fields of
 * docs/recipe.md, or null for the defaults. `threads`: 0 means all cores. */
BITFOLD_API bitfold_status bitfold_quantize(const bitfold_model* model, const char* data, const char* recipe_json,
                                            int threads, bitfold_model** quantized);

/* Compiles a model for running. `threads`: 0 means all cores. Free the session with bitfold_free_session(); it may
 * outlive the model. */
BITFOLD_API bitfold_status bitfold_create_session(const bitfold_model* model, int threads, bitfold_session** session);

/* Another session of the same model that shares its packed weights, for another thread. */
BITFOLD_API bitfold_status bitfold_share_session(const bitfold_session* session, bitfold_session** shared);

/* Runs the model once. `inputs` are in the order of the model's inputs and are read in place. `outputs` receives one
 * tensor per output of the model; their memory belongs to the session and is valid until its next run. */
BITFOLD_API bitfold_status bitfold_run(bitfold_session* session, const bitfold_tensor* inputs, size_t input_count,
                                       bitfold_tensor* outputs, size_t output_count);

/* Both accept null. */
BITFOLD_API void bitfold_free_model(bitfold_model* model);
BITFOLD_API void bitfold_free_session(bitfold_session* session);

#ifdef __cplusplus
}
#endif

#endif
