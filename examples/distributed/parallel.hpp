// Several processes that train one network together, over c10d's Gloo.
//
// What makes a loop data parallel:
//   parallel::Ranks ranks(parallel::place_from_environment(), timeout);
//   ranks.broadcast(*net);                       // before the first step
//   care::RankSampler(sampler, rank, size)       // each its share of a batch
//   options.sum_over_ranks(ranks.summing())      // the guide's mean over all
//   ranks.average_gradients(*net);               // after each backward
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_DISTRIBUTED_PARALLEL_HPP
#define CARE_EXAMPLES_DISTRIBUTED_PARALLEL_HPP

// What c10d's headers ask for; those of Gloo come from libgloo-dev.
#ifndef USE_DISTRIBUTED
#define USE_DISTRIBUTED
#endif
#ifndef USE_C10D_GLOO
#define USE_C10D_GLOO
#endif

#include <c10/util/Exception.h>
#include <torch/csrc/utils/tensor_flatten.h>
#include <torch/nn/module.h>
#include <torch/types.h>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace parallel {

/// Where a process stands, as torchrun, Slurm's scripts and shells say it: the
/// environment's RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
struct Place {
  int rank = 0, size = 1;
  std::string address;
  uint16_t port = 0;
};

/// Throws std::invalid_argument that names the variable which is missing or no
/// number in range.
inline Place place_from_environment() {
  const auto text = [](const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr || *value == '\0') {
      throw std::invalid_argument(
          std::string(name) +
          ": expected it in the environment beside the other "
          "variables, but it is not set");
    }
    return std::string(value);
  };
  const auto number = [&](const char* name, long least, long most) {
    const auto value = text(name);
    char* end = nullptr;
    const long read = std::strtol(value.c_str(), &end, 10);
    if (*end != '\0' || read < least || read > most) {
      throw std::invalid_argument(
          std::string(name) + ": expected a number from " +
          std::to_string(least) + " to " + std::to_string(most) +
          ", but got '" + value + "'");
    }
    return read;
  };
  Place place;
  place.size = static_cast<int>(number("WORLD_SIZE", 1, 4096));
  place.rank = static_cast<int>(number("RANK", 0, place.size - 1));
  place.address = text("MASTER_ADDR");
  place.port = static_cast<uint16_t>(number("MASTER_PORT", 1, 65535));
  return place;
}

/// One of the processes. Every method that talks to the others is called by all
/// of them, equally often and in the same order. When one of them ends or
/// hangs, it throws std::runtime_error in all others that names the lost ranks:
/// within seconds for one that ended, after `timeout` for one that hangs.
class Ranks {
 public:
  Ranks(Place place, std::chrono::seconds timeout) : place_(std::move(place)) {
    c10d::TCPStoreOptions options;
    options.port = place_.port;
    options.isServer = place_.rank == 0;
    options.waitWorkers = false;
    options.timeout = timeout;
    without_libuv(options, 0);
    try {
      store_ = c10::make_intrusive<c10d::TCPStore>(place_.address, options);
    } catch (const std::exception& error) {
      throw std::runtime_error(
          (place_.rank == 0 ? "MASTER_PORT: expected a free port, but "
                            : "MASTER_ADDR: expected rank 0 to answer, but ") +
          place_.address + ":" + std::to_string(place_.port) +
          " gives: " + first_line(error.what()));
    }
    meet(timeout);
  }

  int rank() const {
    return place_.rank;
  }
  int size() const {
    return place_.size;
  }
  /// Whether this is the one that writes files and speaks.
  bool is_first() const {
    return place_.rank == 0;
  }

  /// The sum of all processes' tensors of this shape and type.
  torch::Tensor sum(const torch::Tensor& share) {
    std::vector<torch::Tensor> whole{
        share.detach().clone(torch::MemoryFormat::Contiguous)};
    together([&] { return group_->allreduce(whole); });
    return whole[0];
  }
  std::function<torch::Tensor(const torch::Tensor&)> summing() {
    return [this](const torch::Tensor& share) { return sum(share); };
  }

  /// Gives all processes rank 0's parameters and buffers.
  void broadcast(const torch::nn::Module& net) {
    torch::NoGradGuard no_grad;
    auto tensors = net.parameters();
    const auto buffers = net.buffers();
    tensors.insert(tensors.end(), buffers.begin(), buffers.end());
    for (auto& tensor : tensors) {
      std::vector<torch::Tensor> copy{tensor.detach().contiguous()};
      together([&] { return group_->broadcast(copy); });
      tensor.copy_(copy[0]);
    }
  }

  /// Makes each gradient the mean over the processes, where one that has none
  /// counts as 0. What no process has a gradient of is left without.
  void average_gradients(const torch::nn::Module& net) {
    torch::NoGradGuard no_grad;
    std::vector<torch::Tensor> parameters, gradients;
    std::vector<double> defined;
    for (const auto& p : net.parameters()) {
      if (p.requires_grad()) {
        parameters.push_back(p);
        defined.push_back(p.grad().defined() ? 1 : 0);
      }
    }
    const auto anywhere = sum(torch::tensor(defined, torch::kDouble));
    for (size_t i = 0; i < parameters.size(); ++i) {
      if (anywhere[static_cast<int64_t>(i)].item<double>() > 0) {
        auto& gradient = parameters[i].mutable_grad();
        gradient =
            gradient.defined() ? gradient : torch::zeros_like(parameters[i]);
        gradients.push_back(gradient);
      }
    }
    namespace utils = torch::utils; // buckets are of one type each
    for (auto& bucket : utils::take_tensors(gradients, kBucket)) {
      const auto mean =
          sum(utils::flatten_dense_tensors(bucket.tensors)).div_(size());
      const auto parts = utils::unflatten_dense_tensors(mean, bucket.tensors);
      for (size_t i = 0; i < parts.size(); ++i) {
        bucket.tensors[i].copy_(parts[i]);
      }
    }
  }

 private:
  static constexpr size_t kBucket = size_t{1} << 24; // bytes

  /// LibTorch 2.4 and later ask for libuv, which Debian's is built without.
  template <class Options>
  static auto without_libuv(Options& options, int)
      -> decltype(options.useLibUV, void()) {
    options.useLibUV = false;
  }
  template <class Options>
  static void without_libuv(Options&, long) {}

  static std::string first_line(const std::string& text) {
    return text.substr(0, text.find('\n'));
  }
  static std::string key(const char* what, int rank) {
    return what + std::to_string(rank);
  }

  /// Finds the others at the store and connects to them.
  void meet(std::chrono::seconds timeout) {
    if (is_first()) {
      store_->add("size", size());
    }
    store_->wait({"size"}, timeout);
    const auto first = store_->add("size", 0);
    if (first != size()) {
      throw std::runtime_error(
          "WORLD_SIZE: expected " + std::to_string(first) +
          " as rank 0 has it, but got " + std::to_string(size()));
    }
    if (store_->add(key("joined", rank()), 1) > 1) {
      throw std::runtime_error(
          "RANK: expected each process to have its own, but another one is "
          "rank " +
          std::to_string(rank()) + " too");
    }
    const auto until = std::chrono::steady_clock::now() + timeout;
    const auto missing = who_lacks("joined", until);
    if (!missing.empty()) {
      throw std::runtime_error(
          "WORLD_SIZE: expected " + std::to_string(size()) +
          " processes within " + std::to_string(timeout.count()) +
          " s, but rank" + list(missing) + " did not come");
    }
    auto options = c10d::ProcessGroupGloo::Options::create(timeout);
    options->devices.push_back(c10d::ProcessGroupGloo::createDefaultDevice());
    group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(
        store_, rank(), size(), options);
  }

  /// The ranks without this key when all have it, or when the time is up.
  std::vector<int> who_lacks(
      const char* what,
      std::chrono::steady_clock::time_point until) {
    std::vector<int> missing;
    do {
      missing.clear();
      for (int other = 0; other < size(); ++other) {
        if (!store_->check({key(what, other)})) {
          missing.push_back(other);
        }
      }
      if (missing.empty()) {
        break;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    } while (std::chrono::steady_clock::now() < until);
    return missing;
  }

  static std::string list(const std::vector<int>& ranks) {
    std::string text = ranks.size() == 1 ? " " : "s ";
    for (size_t i = 0; i < ranks.size(); ++i) {
      text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
    }
    return text;
  }

  template <class Call>
  void together(const Call& call) {
    if (size() == 1) {
      return;
    }
    std::string why;
    try {
      call()->wait();
      return;
    } catch (const std::exception& error) {
      why = first_line(error.what());
    }
    // Whoever still lives says so at rank 0's store. Without connections all
    // others notice at once.
    group_.reset();
    std::vector<int> lost{0};
    try {
      store_->set(key("left", rank()), std::vector<uint8_t>{1});
      const auto now = std::chrono::steady_clock::now();
      lost = who_lacks("left", now + std::chrono::seconds(3));
      if (is_first()) { // whose store the others still ask
        std::this_thread::sleep_for(std::chrono::seconds(2));
      }
    } catch (const std::exception&) { // there is no store: rank 0 is gone
    }
    throw std::runtime_error(
        "rank " + std::to_string(rank()) + ": lost rank" +
        (lost.empty() ? "s unknown" : list(lost)) + " (" + why + ")");
  }

  Place place_;
  c10::intrusive_ptr<c10d::TCPStore> store_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

} // namespace parallel

#endif // CARE_EXAMPLES_DISTRIBUTED_PARALLEL_HPP
