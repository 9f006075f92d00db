// safetensors files, read and written: 8 bytes with the size of the header, the
// header in JSON, the numbers (https://huggingface.co/docs/safetensors).
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_WEIGHTS_SAFETENSORS_HPP
#define CARE_EXAMPLES_WEIGHTS_SAFETENSORS_HPP

#include "bytes.hpp"

#include <torch/types.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace weights {

namespace detail {

inline uint64_t whole_number(const nlohmann::json& json) {
  TORCH_CHECK_VALUE(
      json.is_number_unsigned(), "expected whole numbers for sizes");
  return json.get<uint64_t>();
}

/// Where in the data a tensor's numbers stand: from, to.
using Piece = std::pair<uint64_t, uint64_t>;

inline torch::Tensor read_tensor(
    const nlohmann::json& entry,
    string_view data,
    Piece piece) {
  const auto name = entry.at("dtype").get<std::string>();
  const auto* dtype =
      find_dtype([&](const Dtype& known) { return known.safetensors == name; });
  TORCH_CHECK_VALUE(
      dtype != nullptr,
      "expected a dtype that LibTorch 1.13 has, but got ",
      name.substr(0, 20));
  std::vector<int64_t> sizes;
  const auto& shape = entry.at("shape");
  TORCH_CHECK_VALUE(shape.is_array(), "expected a list as the shape");
  for (const auto& size : shape) {
    sizes.push_back(static_cast<int64_t>(whole_number(size)));
  }
  TORCH_CHECK_VALUE(
      piece.first <= piece.second && piece.second <= data.size() &&
          sizes_fit(sizes, static_cast<double>(data.size())) &&
          static_cast<uint64_t>(c10::multiply_integers(sizes)) *
                  c10::elementSize(dtype->type) ==
              piece.second - piece.first,
      "expected the bytes of a shape of ",
      sizes.size(),
      " sizes, but got those from ",
      piece.first,
      " to ",
      piece.second,
      " of ",
      data.size());
  return tensor_of(
             data.substr(piece.first, piece.second - piece.first), dtype->type)
      .view(sizes);
}

inline Weights read_safetensors(string_view file) {
  Bytes in(file);
  const auto header = in.take(in.number<uint64_t>());
  const auto data = file.substr(sizeof(uint64_t) + header.size());
  const auto json = nlohmann::json::parse(header, nullptr, false);
  TORCH_CHECK_VALUE(json.is_object(), "expected a JSON header");
  Weights result;
  std::vector<Piece> pieces;
  try {
    for (const auto& [name, entry] : json.items()) {
      if (name == "__metadata__") {
        entry.get_to(result.metadata);
        continue;
      }
      const auto& offsets = entry.at("data_offsets");
      pieces.emplace_back(
          whole_number(offsets.at(0)), whole_number(offsets.at(1)));
      result.tensors[name] = read_tensor(entry, data, pieces.back());
    }
  } catch (const nlohmann::json::exception& error) {
    TORCH_CHECK_VALUE(
        false, "expected a header of safetensors, but got ", error.what());
  }
  // No two share bytes, and none are left.
  std::sort(pieces.begin(), pieces.end());
  uint64_t end = 0;
  for (const auto& piece : pieces) {
    TORCH_CHECK_VALUE(
        piece.first == end, "expected numbers from byte ", end, " on");
    end = piece.second;
  }
  TORCH_CHECK_VALUE(
      end == data.size(),
      "expected " + std::to_string(end) + " bytes of numbers, but got ",
      data.size());
  return result;
}

using Named = std::vector<std::pair<std::string, torch::Tensor>>;

/// The tensors in the order in which a file has their numbers, and its header.
/// Throws where safetensors cannot hold them.
inline std::pair<Named, std::string> laid_out(const Weights& weights) {
  Named tensors(weights.tensors.begin(), weights.tensors.end());
  // The larger elements first, so that each number is aligned.
  std::stable_sort(
      tensors.begin(), tensors.end(), [](const auto& a, const auto& b) {
        return a.second.element_size() > b.second.element_size();
      });
  auto header = nlohmann::json::object();
  if (!weights.metadata.empty()) {
    header["__metadata__"] = weights.metadata;
  }
  uint64_t end = 0;
  for (const auto& [name, tensor] : tensors) {
    const auto type = tensor.scalar_type();
    const auto* dtype =
        find_dtype([&](const Dtype& known) { return known.type == type; });
    TORCH_CHECK_VALUE(
        dtype != nullptr && name != "__metadata__",
        "weights::write_safetensors: expected a dtype and name of safetensors, "
        "but got ",
        type,
        " for ",
        name);
    const auto start = end;
    end += tensor.nbytes();
    header[name] = {
        {"dtype", dtype->safetensors},
        {"shape", tensor.sizes().vec()},
        {"data_offsets", nlohmann::json::array({start, end})}};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const nlohmann::json::exception& error) {
    TORCH_CHECK_VALUE(
        false,
        "weights::write_safetensors: expected UTF-8, but got ",
        error.what());
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  return {tensors, text};
}

inline void write(
    std::ostream& out,
    const std::pair<Named, std::string>& file) {
  const auto& [tensors, header] = file;
  const uint64_t size = header.size();
  out.write(reinterpret_cast<const char*>(&size), sizeof(size));
  out << header;
  for (const auto& item : tensors) {
    const auto numbers = item.second.detach().cpu().contiguous();
    out.write(
        static_cast<const char*>(numbers.data_ptr()),
        static_cast<std::streamsize>(numbers.nbytes()));
  }
}

/// A file that is gone in the end, unless it was renamed.
struct Part {
  std::filesystem::path path;

  explicit Part(std::filesystem::path of) : path(std::move(of)) {
    path += ".part";
  }
  ~Part() {
    std::error_code none_there;
    std::filesystem::remove(path, none_there);
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;
};

} // namespace detail

/// Writes weights as safetensors, which Python's `safetensors` package reads:
/// `safetensors.torch.load_file(path)`.
///
/// Tensors may be of any device and layout in memory; those that share memory
/// are written one by one. Names and metadata are UTF-8. Throws c10::ValueError
/// for a dtype that safetensors does not know, or other text.
inline void write_safetensors(std::ostream& out, const Weights& weights) {
  detail::write(out, detail::laid_out(weights));
}

/// The same to a file, in one step: whoever opens it finds the old file or the
/// new one, and no other is left. A link stays one. Throws c10::Error if the
/// file cannot be written.
inline void write_safetensors(
    const std::filesystem::path& path,
    const Weights& weights) {
  const auto file = detail::laid_out(weights);
  std::error_code error;
  auto target = path;
  for (int i = 0; i < 40 && std::filesystem::is_symlink(target, error); ++i) {
    target =
        target.parent_path() / std::filesystem::read_symlink(target, error);
  }
  const detail::Part part(target);
  std::ofstream out(part.path, std::ios::binary);
  detail::write(out, file);
  out.close();
  if (out) {
    std::filesystem::rename(part.path, target, error);
  }
  TORCH_CHECK(
      out && !error,
      "weights::write_safetensors: cannot write ",
      path.string());
}

} // namespace weights

#endif // CARE_EXAMPLES_WEIGHTS_SAFETENSORS_HPP
