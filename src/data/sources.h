// The kinds of BatchSource that open_dataset makes.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "bitfold/data.h"
#include "data/npy.h"

namespace bitfold {

/// Arrays as stored; read and converted a batch at a time. One array per input, in the inputs' order; `labels` empty or
/// one per sample. `kind` is for the description: "IDX", "npz". Throws Error naming `path` and array for what does not
/// fit the inputs. Adds what it guesses to `notes`.
struct ArrayData {
  std::string path, kind;
  std::vector<StoredArray> arrays;
  std::vector<std::int64_t> labels;
};
std::unique_ptr<BatchSource> make_array_source(ArrayData data, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, std::vector<std::string>& notes);

/// The labels of an integer array of shape [n] or [n, 1]. Throws Error, starting with `where`, for anything else.
std::vector<std::int64_t> to_labels(const Tensor& array, const std::string& where);

/// Image files, read and decoded a batch at a time: memory does not grow with their number.
struct LabelledImage {
  std::filesystem::path path;
  std::int64_t label = 0;
};
struct ImageFolder {
  std::string path;
  std::vector<LabelledImage> images;
  bool has_labels = false;
};

/// The images of a folder: those that its labels.txt lists, in its order; or those of its subfolders, one class each,
/// sorted by name, one image of each class in turn, so that a limit takes of all classes; or those lying in it,
/// unlabelled, sorted by name. No images is not an error here. Throws Error naming file and line for a bad labels.txt.
ImageFolder find_images(const std::string& folder, std::vector<std::string>& notes);

std::unique_ptr<BatchSource> make_image_source(ImageFolder folder, const std::vector<InputSpec>& inputs,
                                               const DatasetOptions& options, std::vector<std::string>& notes);

}  // namespace bitfold
