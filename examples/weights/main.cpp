// weights: what a file of weights holds; with a second name, the same as
// safetensors.
// SPDX-License-Identifier: Apache-2.0
#include "weights.hpp"

#include <exception>
#include <iostream>
#include <string>

int main(int argc, char** argv) {
  const bool asks = argc == 2 && argv[1] == std::string("--help");
  if (asks || argc < 2 || argc > 3) {
    (asks ? std::cout : std::cerr) << "usage: weights FILE [NEW.safetensors]\n";
    return asks ? 0 : 2;
  }
  try {
    const auto file = weights::read(argv[1]);
    for (const auto& [key, value] : file.metadata) {
      std::cout << key << ": " << value << '\n';
    }
    for (const auto& [name, tensor] : file.tensors) {
      std::cout << name << ' ' << tensor.dtype() << ' ' << tensor.sizes()
                << '\n';
    }
    if (argc == 3) {
      weights::write_safetensors(std::filesystem::path(argv[2]), file);
    }
  } catch (const c10::Error& error) {
    std::cerr << "weights: " << error.what_without_backtrace() << '\n';
    return 1;
  } catch (const std::exception& error) {
    std::cerr << "weights: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
