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

/// The labels of an integer array of shape [n] or [n, 1]. Throws Error beginning with `where` for other arrays.
std::vector<std::int64_t> to_labels(const Tensor& array, const std::string& where);

/// Image files, read and decoded a batch at a time, so that memory does not grow with their number.
struct LabelledImage {
  std::filesystem::path path;
  std::int64_t label = 0;
};
struct ImageFolder {
  std::string path;
  std::vector<LabelledImage> images;
  bool has_labels = false;
};

/// The images of a folder: those listed in labels.txt, in that order; or those of its subfolders, one class each,
/// taking one image of each class in turn so that a limit includes all classes; or unlabelled ones in the folder
/// itself, sorted by name. An empty result is not an error here. Throws Error naming file and line of an invalid
/// labels.txt.
ImageFolder find_images(const std::string& folder, std::vector<std::string>& notes);

/// Files that are whole samples (BatchSource::has_whole_samples()), read when their turn comes. Throws Error naming
/// file and array if the first does not fit the inputs.
std::unique_ptr<BatchSource> make_sample_source(const std::string& folder, std::vector<std::string> files,
                                                const std::vector<InputSpec>& inputs, const DatasetOptions& options,
                                                std::vector<std::string>& notes);

std::unique_ptr<BatchSource> make_image_source(ImageFolder folder, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, std::vector<std::string>& notes);

}  // namespace bitfold
