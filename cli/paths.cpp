#include "paths.h"

#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "bitfold/error.h"
#include "bitfold/file.h"
#include "bitfold/onnx.h"

namespace bitfold::cli {
namespace {

namespace fs = std::filesystem;

// All options that name files. A --resume file is both read and written.
constexpr const char* kOutputs[] = {"--output", "--json", "--report", "--save-calibration", "--resume"};
constexpr const char* kModels[] = {"model", "models", "float_model", "quantized_model"};
constexpr const char* kOtherInputs[] = {"input",         "--input", "--data",   "--calibrate",
                                        "--calibration", "--eval",  "--recipe", "--preprocess"};

struct File {
  std::string option;  // "--json", or for external data a description such as "the weights of"
  std::string path;
};

std::vector<std::string> values_of(const CLI::App& verb, const char* name) {
  const CLI::Option* option = verb.get_option_no_throw(name);
  return option == nullptr ? std::vector<std::string>{} : option->results();
}

// Only for --json, "-" means standard output.
std::string path_of(const File& file) {
  return file.option == "--json" && file.path == "-" ? "/dev/stdout" : file.path;
}

bool is_same(const File& a, const File& b) {
  std::error_code ignored;
  const bool is_device = fs::is_character_file(a.path, ignored) && descriptor_of(a.path) < 0;
  return !is_device && is_same_file(path_of(a), path_of(b));  // /dev/null may take several results
}

std::vector<File> outputs_of(const CLI::App& verb) {
  std::vector<File> files;
  for (const char* name : kOutputs)
    for (const std::string& path : values_of(verb, name))
      if (!path.empty()) files.push_back({name, path});
  return files;
}

std::vector<File> inputs_of(const CLI::App& verb) {
  std::vector<File> files;
  for (const char* name : kModels)
    for (const std::string& path : values_of(verb, name)) {
      files.push_back({"the model that is read", path});
      for (const std::string& data : external_files(path))
        files.push_back({fmt::format("external data of '{}'", path), data});
    }
  for (const char* name : kOtherInputs)
    for (const std::string& path : values_of(verb, name)) files.push_back({"a file that is read", path});
  return files;
}

}  // namespace

void check_paths(const CLI::App& verb) {
  const std::vector<File> outputs = outputs_of(verb), inputs = inputs_of(verb);
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j)
      if (is_same(outputs[i], outputs[j]))
        throw Error(fmt::format("{} and {} both write '{}'; name different files", outputs[j].option, outputs[i].option,
                                outputs[i].path));
    for (const File& input : inputs)
      if (is_same(outputs[i], input))
        throw Error(fmt::format("{} would overwrite '{}', {}; write to another file", outputs[i].option,
                                outputs[i].path, input.option));
    // Replacing a model removes its external weights, so they count as outputs.
    for (const std::string& data : external_files(outputs[i].path))
      for (const File& input : inputs)
        if (is_same({"", data}, input))
          throw Error(fmt::format("{} would replace '{}' and remove its weights '{}', {}; write to another file",
                                  outputs[i].option, outputs[i].path, data, input.option));
    // The outputs of several samples are files in a folder, which may exist.
    std::error_code ignored;
    const bool is_folder_of_run =
        verb.get_name() == "run" && outputs[i].option == "--output" && fs::is_directory(outputs[i].path, ignored);
    if (!is_folder_of_run) check_can_write(path_of(outputs[i]));
  }
}

bool writes_to_standard_output(const CLI::App& verb) {
  for (const File& file : outputs_of(verb))
    if (descriptor_of(path_of(file)) == STDOUT_FILENO) return true;
  return false;
}

}  // namespace bitfold::cli
