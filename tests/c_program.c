/* The C API, used by a program in C. Exit status 1 and a line for each check that fails.
 * Arguments: a model with one input of shape [n, 3, 8, 8], samples, and a file to write. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "bitfold_c.h"

static int failures = 0;

static void expect(int condition, const char* what) {
  if (condition) return;
  printf("FAILED: %s (last error: %s)\n", what, bitfold_last_error());
  failures = 1;
}

static void run_both(bitfold_session* a, bitfold_session* b, double* noise, double* power) {
  enum { count = 2 * 3 * 8 * 8 };
  static float x[count];
  const int64_t shape[4] = {2, 3, 8, 8};
  for (int i = 0; i < count; ++i) x[i] = (float)((i * 37) % 101) / 101;
  const bitfold_tensor input = {BITFOLD_FLOAT32, 4, shape, x};
  bitfold_tensor y, z;
  expect(bitfold_run(a, &input, 1, &y, 1) == BITFOLD_OK, "run the first session");
  expect(bitfold_run(b, &input, 1, &z, 1) == BITFOLD_OK, "run the second session");
  expect(y.type == BITFOLD_FLOAT32 && y.rank == 4 && y.shape[0] == 2 && y.shape[3] == 6,
         "the output is 2x4x6x6 floats");
  *noise = *power = 0;
  for (int i = 0; i < 2 * 4 * 6 * 6; ++i) {
    const double u = ((const float*)y.data)[i], v = ((const float*)z.data)[i];
    *noise += (u - v) * (u - v);
    *power += u * u;
  }
}

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  bitfold_model *model = NULL, *quantized = NULL, *copy = NULL;
  bitfold_session *session = NULL, *shared = NULL, *integers = NULL;
  const char *data = argv[2], *path = argv[3];
  double noise, power;
  expect(strlen(bitfold_version()) > 0, "version");
  expect(bitfold_load(argv[1], &model) == BITFOLD_OK, "load");
  expect(bitfold_input_count(model) == 1 && bitfold_output_count(model) == 1, "one input and one output");
  bitfold_value value;
  expect(bitfold_input(model, 0, &value) == BITFOLD_OK && value.type == BITFOLD_FLOAT32 && value.rank == 4, "input");
  expect(value.shape[0] == -1 && value.shape[1] == 3, "the batch is open");
  expect(bitfold_output(model, 1, &value) == BITFOLD_ERROR && strstr(bitfold_last_error(), "index 1"),
         "index too large");

  expect(bitfold_create_session(model, 1, &session) == BITFOLD_OK, "create a session");
  expect(bitfold_share_session(session, &shared) == BITFOLD_OK, "share a session");
  run_both(session, shared, &noise, &power);
  expect(noise == 0 && power > 0, "sessions that share weights agree exactly");

  expect(bitfold_quantize(model, data, "{\"weight_bits\": 8}", 0, &quantized) == BITFOLD_OK, "quantize");
  expect(bitfold_save(quantized, path) == BITFOLD_OK, "save");
  expect(bitfold_load(path, &copy) == BITFOLD_OK, "load what was saved");
  expect(bitfold_create_session(copy, 1, &integers) == BITFOLD_OK, "create a session in integers");
  run_both(session, integers, &noise, &power);
  expect(noise > 0 && 10 * log10(power / noise) > 20, "the integers agree to 20 dB");

  const int64_t shape[3] = {3, 8, 8};
  static float x[3 * 8 * 8];
  const bitfold_tensor wrong = {BITFOLD_FLOAT32, 3, shape, x};
  bitfold_tensor y;
  expect(bitfold_run(session, &wrong, 1, &y, 1) == BITFOLD_ERROR && strstr(bitfold_last_error(), "3x8x8"), "shape");
  expect(bitfold_run(session, NULL, 0, &y, 1) == BITFOLD_ERROR && strstr(bitfold_last_error(), "1 inputs"),
         "no inputs");
  expect(bitfold_load("no/such.onnx", &copy) == BITFOLD_ERROR && strstr(bitfold_last_error(), "no/such.onnx"),
         "no file");
  expect(bitfold_load(NULL, &copy) == BITFOLD_ERROR && strstr(bitfold_last_error(), "path is null"), "a null path");
  expect(bitfold_quantize(model, data, "{\"weight_bits\": 99}", 0, &quantized) == BITFOLD_ERROR, "a wrong recipe");
  expect(bitfold_load_bytes("nonsense", 8, &quantized) == BITFOLD_ERROR, "bytes that are no model");

  bitfold_free_session(integers);
  bitfold_free_model(model);
  run_both(session, shared, &noise, &power); /* sessions outlive their model */
  bitfold_free_session(session);
  bitfold_free_session(shared);
  bitfold_free_model(NULL);
  if (!failures) printf("the C API works\n");
  return failures;
}
