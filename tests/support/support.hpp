// What the tests share: comparing tensors, gradcheck, errors, golden values.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_TESTS_SUPPORT_SUPPORT_HPP
#define CARE_TESTS_SUPPORT_SUPPORT_HPP

#include "support/catch.hpp"

#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <iterator>
#include <limits>
#include <map>
#include <ostream>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace care_test {

using Tensors = std::vector<torch::Tensor>;

/// Yes or no with a reason: `CHECK(outcome)` prints the reason.
class Outcome {
 public:
  static Outcome yes(std::string reason = "as expected") {
    return Outcome(true, std::move(reason));
  }
  static Outcome no(std::string reason) {
    return Outcome(false, std::move(reason));
  }

  explicit operator bool() const {
    return good_;
  }
  const std::string& reason() const {
    return reason_;
  }
  friend std::ostream& operator<<(std::ostream& stream, const Outcome& self) {
    return stream << self.reason_;
  }

 private:
  Outcome(bool good, std::string reason)
      : good_(good),
        reason_(std::move(reason)) {}

  bool good_;
  std::string reason_;
};

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

inline torch::Tensor doubles(const std::vector<double>& values) {
  return torch::tensor(values, torch::kDouble);
}

inline torch::Tensor longs(const std::vector<int64_t>& values) {
  return torch::tensor(values, torch::kLong);
}

/// Runs work(0), work(1), ... each in a thread of its own, and rethrows an
/// error, if any, when all have ended.
template <class Work>
void in_threads(size_t count, const Work& work) {
  std::vector<std::future<void>> all;
  for (size_t i = 0; i < count; ++i) {
    all.push_back(std::async(std::launch::async, [&work, i] { work(i); }));
  }
  for (auto& each : all) {
    each.wait();
  }
  for (auto& each : all) {
    each.get();
  }
}

/// Whether both tensors have the same shape and values:
/// |actual - expected| <= atol + rtol * |expected|.
///
/// Dtypes and devices may differ. Where `expected` is NaN or infinite, `actual`
/// must be the same. The reason names the worst element. Call it by its full
/// name: `allclose` alone is also LibTorch's.
inline Outcome allclose(
    const torch::Tensor& actual,
    const torch::Tensor& expected,
    double atol = 1e-6,
    double rtol = 1e-5) {
  std::ostringstream reason;
  if (!actual.defined() || !expected.defined()) {
    reason << "actual is " << (actual.defined() ? "defined" : "undefined")
           << ", expected is "
           << (expected.defined() ? "defined" : "undefined");
    return Outcome::no(reason.str());
  }
  if (actual.sizes() != expected.sizes()) {
    reason << "actual is " << actual.sizes() << ", expected is "
           << expected.sizes();
    return Outcome::no(reason.str());
  }
  if (actual.numel() == 0) {
    return Outcome::yes();
  }
  const auto as_doubles = [](const torch::Tensor& tensor) {
    return tensor.detach()
        .to(torch::kCPU, torch::kDouble)
        .contiguous()
        .view(-1);
  };
  const auto a = as_doubles(actual);
  const auto b = as_doubles(expected);
  const auto same = a.eq(b).logical_or(a.isnan().logical_and(b.isnan()));
  // NaN where anything but an equal NaN or infinity stands: never close.
  auto excess = (a - b).abs() - (atol + rtol * b.abs());
  excess = torch::where(
      torch::isfinite(excess),
      excess,
      torch::full_like(excess, std::numeric_limits<double>::infinity()));
  excess = excess.masked_fill(same, -1);
  const auto bad = excess.gt(0);
  const auto bad_count = bad.sum().item<int64_t>();
  if (bad_count == 0) {
    return Outcome::yes();
  }
  const auto worst = excess.argmax().item<int64_t>();
  std::vector<int64_t> index(static_cast<size_t>(actual.dim()));
  int64_t rest = worst;
  for (size_t d = index.size(); d > 0; --d) {
    const auto extent = actual.size(static_cast<int64_t>(d - 1));
    index[d - 1] = rest % extent;
    rest /= extent;
  }
  reason.precision(9);
  reason << bad_count << " of " << actual.numel()
         << " values differ; the worst is at " << torch::IntArrayRef(index)
         << ": actual " << a[worst].item<double>() << ", expected "
         << b[worst].item<double>() << " (atol " << atol << ", rtol " << rtol
         << ")";
  if (actual.numel() <= 64) {
    reason << "\nactual:\n" << actual << "\nexpected:\n" << expected;
  }
  return Outcome::no(reason.str());
}

/// Whether both tensors are the same bit for bit: shape, dtype, values.
inline Outcome identical(
    const torch::Tensor& actual,
    const torch::Tensor& expected) {
  if (actual.defined() && expected.defined() &&
      actual.dtype() != expected.dtype()) {
    std::ostringstream reason;
    reason << "actual is " << actual.dtype() << ", expected is "
           << expected.dtype();
    return Outcome::no(reason.str());
  }
  return care_test::allclose(actual, expected, 0, 0);
}

/// How gradcheck measures and compares.
struct GradcheckOptions {
  double step = 1e-6;
  double atol = 1e-6;
  double rtol = 1e-4;
};

/// Whether the gradient of `function` is what central differences give.
///
/// The inputs that require a gradient must be double and are checked element by
/// element; the others are passed on as they are. `function` returns a tensor
/// of any shape: it is checked along one fixed direction. It may itself call
/// `torch::autograd::grad`, with `create_graph` when the result is to have a
/// gradient; see also `gradgradcheck`.
inline Outcome gradcheck(
    const std::function<torch::Tensor(const Tensors&)>& function,
    const Tensors& inputs,
    GradcheckOptions options = {}) {
  Tensors leaves;
  Tensors checked;
  for (const auto& input : inputs) {
    auto leaf = input.detach().clone();
    if (input.requires_grad()) {
      TORCH_CHECK(
          leaf.scalar_type() == torch::kDouble,
          "gradcheck: expected double inputs, but got ",
          leaf.dtype());
      leaf.set_requires_grad(true);
      checked.push_back(leaf);
    }
    leaves.push_back(leaf);
  }
  TORCH_CHECK(!checked.empty(), "gradcheck: no input requires a gradient");

  torch::Tensor direction;
  const auto scalar = [&] {
    const auto value = function(leaves).to(torch::kDouble);
    if (!direction.defined()) {
      // Irregular and never zero, without touching the generator.
      direction = (torch::arange(value.numel(), torch::kDouble) * 1.7 + 0.5)
                      .sin()
                      .add(1.5)
                      .view(value.sizes());
    }
    return (value * direction).sum();
  };

  const auto value = scalar();
  if (!value.requires_grad()) {
    return Outcome::no("the result does not depend on the inputs' gradients");
  }
  const auto analytic = torch::autograd::grad(
      {value},
      checked,
      /*grad_outputs=*/{},
      /*retain_graph=*/torch::nullopt,
      /*create_graph=*/false,
      /*allow_unused=*/true);

  for (size_t i = 0; i < checked.size(); ++i) {
    const auto& leaf = checked[i];
    auto numeric = torch::zeros(leaf.sizes(), torch::kDouble);
    auto elements = leaf.data().view(-1);
    for (int64_t e = 0; e < leaf.numel(); ++e) {
      const double kept = elements[e].item<double>();
      elements[e] = kept + options.step;
      const double above = scalar().item<double>();
      elements[e] = kept - options.step;
      const double below = scalar().item<double>();
      elements[e] = kept;
      numeric.view(-1)[e] = (above - below) / (2 * options.step);
    }
    const auto gradient =
        analytic[i].defined() ? analytic[i] : torch::zeros_like(leaf);
    const auto same =
        care_test::allclose(gradient, numeric, options.atol, options.rtol);
    if (!same) {
      return Outcome::no(
          "gradient of input " + std::to_string(i) +
          " (actual: autograd, expected: differences): " + same.reason());
    }
  }
  return Outcome::yes();
}

/// Whether the second-order gradient of `function` is what central differences
/// of its first-order gradient give. The rules are gradcheck's.
inline Outcome gradgradcheck(
    const std::function<torch::Tensor(const Tensors&)>& function,
    const Tensors& inputs,
    GradcheckOptions options = {}) {
  const auto gradient = [&](const Tensors& leaves) {
    Tensors wanted;
    for (const auto& leaf : leaves) {
      if (leaf.requires_grad()) {
        wanted.push_back(leaf);
      }
    }
    const auto value = function(leaves);
    const auto direction =
        (torch::arange(value.numel(), torch::kDouble) * 0.9 + 0.3)
            .cos()
            .add(1.3)
            .view(value.sizes());
    Tensors flat;
    for (const auto& grad : torch::autograd::grad(
             {(value * direction).sum()},
             wanted,
             /*grad_outputs=*/{},
             /*retain_graph=*/true,
             /*create_graph=*/true,
             /*allow_unused=*/true)) {
      if (grad.defined()) {
        flat.push_back(grad.reshape(-1));
      }
    }
    return torch::cat(flat);
  };
  return gradcheck(gradient, inputs, options);
}

/// Whether `call` throws an error whose message has `part` in it.
///
/// The message of a c10::Error is taken without its backtrace.
template <typename Error = c10::Error, typename Call>
Outcome throws(Call&& call, const std::string& part) {
  std::string message;
  try {
    call();
    return Outcome::no("nothing was thrown, expected '" + part + "'");
  } catch (const Error& error) {
    if constexpr (std::is_base_of_v<c10::Error, Error>) {
      message = error.what_without_backtrace();
    } else {
      message = error.what();
    }
  } catch (const std::exception& error) {
    return Outcome::no(
        std::string("an error of another type was thrown: ") + error.what());
  }
  if (message.find(part) == std::string::npos) {
    return Outcome::no(
        "the message is '" + message + "', expected '" + part + "' in it");
  }
  return Outcome::yes();
}

/// The folder tests/data.
inline std::filesystem::path data_dir() {
  return CARE_TEST_DATA_DIR;
}

/// A dictionary of tensors that Python wrote with `torch.save(dict)`.
inline std::map<std::string, torch::Tensor> load_dictionary(
    const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  TORCH_CHECK(file, "cannot read ", path.string());
  const std::vector<char> bytes{
      std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  std::map<std::string, torch::Tensor> tensors;
  for (const auto& entry : torch::pickle_load(bytes).toGenericDict()) {
    tensors[entry.key().toStringRef()] = entry.value().toTensor();
  }
  return tensors;
}

/// Golden values, "golden/name": tests/data/golden/name.pt.
inline std::map<std::string, torch::Tensor> golden(const std::string& name) {
  return load_dictionary(data_dir() / (name + ".pt"));
}

} // namespace care_test

/// Requires that the expression throws a c10::Error with `part` in its message.
#define CARE_REQUIRE_THROWS(expression, part) \
  REQUIRE(::care_test::throws([&] { static_cast<void>(expression); }, part))

/// The same for a named type of error.
#define CARE_REQUIRE_THROWS_AS(expression, error, part) \
  REQUIRE(::care_test::throws<error>(                   \
      [&] { static_cast<void>(expression); }, part))

#endif // CARE_TESTS_SUPPORT_SUPPORT_HPP
