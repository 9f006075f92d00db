// Weights from elsewhere: files of Python's torch.save and safetensors, read
// and put into a network, and safetensors written.
//
// The headers of this folder need LibTorch and nlohmann-json, nothing else.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_WEIGHTS_WEIGHTS_HPP
#define CARE_EXAMPLES_WEIGHTS_WEIGHTS_HPP

#include "bytes.hpp"
#include "safetensors.hpp"
#include "torch_file.hpp"

#include <torch/arg.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace weights {

/// Weights from a file's bytes, of any of the three formats; see `read`.
inline Weights parse(std::string_view file) {
  if (file.substr(0, 4) == "PK\3\4") {
    return {detail::read_zip(file)};
  }
  if (file.substr(0, detail::kOldMagic.size()) == detail::kOldMagic) {
    return {detail::read_old(file)};
  }
  TORCH_CHECK_VALUE(
      file.size() > 8 && file[8] == '{',
      "expected a file of torch.save or safetensors, but got another");
  return detail::read_safetensors(file);
}

/// Reads a file of weights: one of Python's `torch.save(net.state_dict())`, as
/// PyTorch has written it since 1.6 or before, or safetensors.
///
/// A checkpoint, a dictionary with the state_dict as its item `state_dict`,
/// `model_state_dict` or `model`, gives that; what is no tensor in it is left
/// out. Tensors come to the CPU, of any of LibTorch 1.13's dtypes but the
/// complex and quantised ones, and as in Python tensors that were saved as
/// views of the same numbers are so again. While it reads, it needs twice the
/// file's size in memory.
///
/// Any file is safe to read: nothing in it is run, and no size it claims is
/// believed. Throws c10::ValueError with the file's name for one that is
/// damaged, that names any Python class but tensors and dictionaries (by that
/// name), or that has no tensors; c10::Error for one that cannot be opened.
///
///   auto file = weights::read("resnet18.pth");
///   std::cout << weights::load_into(*net, file, LoadOptions().head("fc"));
inline Weights read(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary | std::ios::ate);
  const bool good = in && std::filesystem::is_regular_file(path);
  std::string file(good ? static_cast<size_t>(in.tellg()) : 0, '\0');
  in.seekg(0).read(file.data(), static_cast<std::streamsize>(file.size()));
  TORCH_CHECK(good && in, "weights::read: cannot read ", path.string());
  try {
    return parse(file);
  } catch (const c10::Error& error) {
    TORCH_CHECK_VALUE(
        false,
        "weights::read: ",
        path.string(),
        ": ",
        error.what_without_backtrace());
    return {};
  }
}

/// A network's parameters and buffers by name, themselves, not copies.
inline Tensors state_dict(const torch::nn::Module& net) {
  Tensors result;
  for (const auto& item : net.named_parameters()) {
    result[item.key()] = item.value();
  }
  for (const auto& item : net.named_buffers()) {
    if (item.value().defined()) {
      result[item.key()] = item.value();
    }
  }
  return result;
}

struct LoadOptions {
  /// The last layer's name, such as "fc": it may be missing, or have another
  /// size, and then keeps the network's numbers. Empty: it must fit as well.
  TORCH_ARG(std::string, head);
  /// Whether all else must fit, as in Python's load_state_dict.
  TORCH_ARG(bool, strict) = true;
  /// What is taken off the front of the file's names where the network has no
  /// such name.
  TORCH_ARG(std::vector<std::string>, prefixes){"module.", "backbone."};
};

/// What came of a load, tensor by tensor.
struct LoadReport {
  std::vector<std::string> loaded;
  std::vector<std::string> missing; ///< the file has none of the name
  std::vector<std::string> unexpected; ///< the network has none of the name
  std::map<std::string, std::string> differing; ///< and how: shape or dtype
};

inline std::ostream& operator<<(std::ostream& out, const LoadReport& report) {
  out << report.loaded.size() << " tensors loaded\n";
  for (const auto& name : report.missing) {
    out << "  not in the file: " << name << '\n';
  }
  for (const auto& name : report.unexpected) {
    out << "  not in the network: " << name << '\n';
  }
  for (const auto& [name, how] : report.differing) {
    out << "  differing: " << name << ": " << how << '\n';
  }
  return out;
}

namespace detail {

/// The network's name for a file's, if it has one; else without the prefixes.
inline std::string own_name(
    std::string name,
    const Tensors& own,
    const std::vector<std::string>& prefixes) {
  const auto starts = [&](const std::string& prefix) {
    return !prefix.empty() && name.compare(0, prefix.size(), prefix) == 0;
  };
  while (own.count(name) == 0) {
    const auto prefix = std::find_if(prefixes.begin(), prefixes.end(), starts);
    if (prefix == prefixes.end()) {
      break;
    }
    name.erase(0, prefix->size());
  }
  return name;
}

/// How a tensor of the file keeps one of the network from taking its numbers;
/// empty if it does not.
inline std::string difference(
    const torch::Tensor& file,
    const torch::Tensor& own) {
  std::ostringstream how;
  if (file.sizes() != own.sizes()) {
    how << file.sizes() << " in the file, " << own.sizes() << " in the network";
  } else if (own.is_floating_point() && !file.is_floating_point()) {
    how << file.dtype() << " in the file, " << own.dtype() << " in the network";
  }
  return how.str();
}

} // namespace detail

/// Copies weights into a network's parameters and buffers of the same names,
/// and says what came of it.
///
/// Dtypes are converted to the network's, but no integers to floating numbers.
/// Throws c10::ValueError, and leaves the network as it was: if nothing can be
/// taken; if two of the file's names come to one of the network's; and, unless
/// `strict(false)`, if anything outside the head does not fit, all of which is
/// listed. As in Python, BatchNorm's `num_batches_tracked`, new in PyTorch
/// 0.4.1, may be missing.
inline LoadReport load_into(
    torch::nn::Module& net,
    const Weights& weights,
    const LoadOptions& options = {}) {
  const auto own = state_dict(net);
  LoadReport report;
  Tensors taken; // by the network's names
  bool fits = true;
  const auto in_head = [&](const std::string& name) {
    return !options.head().empty() && name.rfind(options.head() + ".", 0) == 0;
  };
  for (const auto& [file_name, tensor] : weights.tensors) {
    const auto name = detail::own_name(file_name, own, options.prefixes());
    const auto target = own.find(name);
    if (target == own.end()) {
      report.unexpected.push_back(file_name);
      fits = fits && in_head(name);
      continue;
    }
    TORCH_CHECK_VALUE(
        taken.emplace(name, tensor).second,
        "weights::load_into: expected one tensor for ",
        name,
        ", but got two, one of them as ",
        file_name);
    const auto how = detail::difference(tensor, target->second);
    if (how.empty()) {
      report.loaded.push_back(name);
    } else {
      report.differing[name] = how;
      fits = fits && in_head(name);
    }
  }
  for (const auto& item : own) {
    if (taken.count(item.first) == 0) {
      const auto last = item.first.substr(item.first.rfind('.') + 1);
      report.missing.push_back(item.first);
      fits = fits && (in_head(item.first) || last == "num_batches_tracked");
    }
  }
  TORCH_CHECK_VALUE(
      !report.loaded.empty() && (fits || !options.strict()),
      "weights::load_into: expected weights that fit the network, but got ",
      report);
  torch::NoGradGuard no_grad;
  for (const auto& name : report.loaded) {
    own.at(name).copy_(taken.at(name));
  }
  return report;
}

} // namespace weights

#endif // CARE_EXAMPLES_WEIGHTS_WEIGHTS_HPP
