// The implementations of BatchSource that open_dataset creates.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bitfold/data.h"
#include "data/npy.h"

namespace bitfold {

/// Arrays as stored; read and converted a batch at a time. One array per input, in the inputs' order; `labels` is empty
/// or has one entry per sample. `kind` is for the description: "IDX", "npz". Throws Error naming `path` and array if an
/// array does not fit the inputs. Adds its guesses to `notes`.
struct ArrayData {
  std::string path, kind;
  std::vector<StoredArray> arrays;
  std::vector<std::int64_t> labels;
};
std::unique_ptr<BatchSource> make_array_source(ArrayData data, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, std::vector<std::string>& notes);

/// Names, types and shapes, for messages: \"'x' (float32 [1, 3]), 'state' (float32 [1, 8])\".
std::string names_of(const std::vector<InputSpec>& inputs);

/// The labels of an integer array of shape [n] or [n, 1]. Throws Error beginning with `where` for other arrays.
std::vector<std::int64_t> to_labels(const Tensor& array, const std::string& where);

enum class FileKind { image, audio, array, other };
/// By the ending of the name.
FileKind kind_of(const std::filesystem::path& path);
/// "images", "audio files".
std::string_view to_string(FileKind kind);

/// Files that are read and decoded when their turn comes, so that memory does not grow with their number.
struct LabelledFile {
  std::filesystem::path path;
  std::int64_t label = 0;
};
struct FileSet {
  std::string path;  ///< The folder or list.
  FileKind kind = FileKind::image;
  std::vector<LabelledFile> files;
  bool has_labels = false;
};

/// The images or audio files of a folder. Either those listed in its labels.txt, in its order; or those of its
/// subfolders, one class each, sorted by name, one file of each class in turn so that a limit includes all classes; or
/// those in the folder itself, unlabelled, sorted by name. An empty result is not an error here. Throws Error naming
/// file and line of an invalid labels.txt.
FileSet find_files(const std::string& folder, std::vector<std::string>& notes);

/// The files of a list: one path per line, relative to the list, with or without a class index after it. All have one
/// kind. Throws Error naming file and line.
FileSet read_list(const std::string& path);

/// The functions below add notes and files to `dataset`, besides its source.

/// Files that are whole samples (BatchSource::has_whole_samples()), read when their turn comes. Throws Error naming
/// file and array if the first does not fit the inputs.
std::unique_ptr<BatchSource> make_sample_source(const std::string& origin, std::vector<std::string> files,
                                                const std::vector<InputSpec>& inputs, const DatasetOptions& options,
                                                Dataset& dataset);

std::unique_ptr<BatchSource> make_image_source(FileSet images, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, Dataset& dataset);

/// Reads the header of every file, and skips those that cannot be read unless `strict`.
std::unique_ptr<BatchSource> make_audio_source(FileSet set, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, Dataset& dataset);

}  // namespace bitfold
