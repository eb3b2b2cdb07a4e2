// The ExecuTorch runtime behind four C functions, so that Python's ctypes can call it without PyTorch.
#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>

#include <algorithm>
#include <memory>
#include <string>

using namespace executorch::extension;
static std::unique_ptr<Module> program;
static std::string facts;

extern "C" const char* open_program(const char* path) {
  program = std::make_unique<Module>(path);
  if (program->load_method("forward") != executorch::runtime::Error::Ok) return "not a program of this runtime";
  auto found = program->execute("about");
  if (!found.ok()) return "holds no method \"about\": write it with scarlet-models export";
  auto text = found.get()[0].toString();
  facts.assign(text.data(), text.size());
  return nullptr;
}

extern "C" const char* about() { return facts.c_str(); }

// One image of 3 x side x side; returns the number of logits.
extern "C" int run(float* pixels, float* logits, int side, int most) {
  auto image = from_blob(pixels, {1, 3, side, side});
  auto found = program->execute("forward", {executorch::runtime::EValue(*image)});
  if (!found.ok()) return -1;
  auto tensor = found.get()[0].toTensor();
  std::copy_n(tensor.const_data_ptr<float>(), std::min<int>(most, tensor.numel()), logits);
  return tensor.numel();
}
