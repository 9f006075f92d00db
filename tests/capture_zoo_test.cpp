// Tests of capture on the shapes networks come in: each is split by hand, and
// what is captured must be the map before its pooling, or nothing.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"

#include <care/attention.hpp>
#include <care/capture.hpp>
#include <care/guide.hpp>

#include <torch/nn.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace nn = torch::nn;
namespace F = torch::nn::functional;
using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

namespace {

constexpr int64_t kImages = 2;
constexpr int64_t kClasses = 3;

nn::Conv2d conv(int64_t in, int64_t out, int64_t stride = 1) {
  return nn::Conv2d(nn::Conv2dOptions(in, out, 3).stride(stride).padding(1));
}

nn::LayerNorm norm(int64_t channels) {
  return nn::LayerNorm(nn::LayerNormOptions({channels}));
}

Tensor channels_last(const Tensor& x) {
  return x.permute({0, 2, 3, 1});
}

Tensor channels_first(const Tensor& x) {
  return x.permute({0, 3, 1, 2});
}

/// A network made of a stem [N, 3, 10, 14] -> [N, 8, 5, 7], what is tried
/// (`body`, which returns a pooled vector and notes the last map in `last`),
/// and a linear head.
struct Net {
  std::function<Tensor(const Tensor&)> body;
  Tensor last = {};
  nn::Conv2d stem = nullptr;
  nn::Linear head = nullptr;

  Tensor forward(const Tensor& x) {
    return head(body(torch::relu(stem(x))));
  }
};

Tensor pictures() {
  torch::manual_seed(1);
  return torch::rand({kImages, 3, 10, 14});
}

using Body = std::function<Tensor(const Tensor&, Tensor& last)>;

Net make(int64_t channels) {
  torch::manual_seed(0);
  Net net;
  net.stem = conv(3, 8, 2);
  net.head = nn::Linear(channels, kClasses);
  return net;
}

/// The last map is taken: its values, its Grad-CAM map.
void check_taken(const Body& body, int64_t channels = 8) {
  auto net = make(channels);
  net.body = [&](const Tensor& x) { return body(x, net.last); };
  const auto x = pictures();
  const auto seen = care::capture([&] { return net.forward(x); });
  REQUIRE(net.last.defined());
  REQUIRE(seen.features.sizes() == net.last.sizes());
  CHECK(torch::equal(seen.features, net.last));
  const auto target = torch::tensor({0, 2}, torch::kLong);
  const auto map_of = [&](const Tensor& features) {
    return care::grad_cam(features, care::class_scores(seen.logits, target));
  };
  const auto map = map_of(seen.features);
  CHECK(map.abs().max().item<double>() > 0);
  CHECK(care_test::allclose(map, map_of(net.last), 1e-6, 1e-8));
}

/// It is refused, with this in the message.
void check_refused(
    const Body& body,
    const std::string& why,
    int64_t channels = 8) {
  auto net = make(channels);
  net.body = [&](const Tensor& x) { return body(x, net.last); };
  const auto x = pictures();
  CARE_REQUIRE_THROWS_AS(
      care::capture([&] { return net.forward(x); }), c10::ValueError, why);
}

Tensor pool(const Tensor& x) {
  return x.mean({2, 3});
}

Tensor pool_last(const Tensor& x) { // of [N, h, w, C]
  return x.mean({1, 2});
}

// ----------------------------------------------------- autograd Functions ---

struct Swish : Function<Swish> {
  static Tensor forward(AutogradContext* context, const Tensor& x) {
    context->save_for_backward({x});
    return x * torch::sigmoid(x);
  }
  static variable_list backward(AutogradContext* context, variable_list g) {
    const auto x = context->get_saved_variables()[0];
    const auto s = torch::sigmoid(x);
    return {g[0] * s * (1 + x * (1 - s))};
  }
};

/// Two maps at once: x and 2 x, of which the second is used.
struct Both : Function<Both> {
  static variable_list forward(AutogradContext*, const Tensor& x) {
    return {x + 1, x * 2};
  }
  static variable_list backward(AutogradContext*, variable_list g) {
    return {g[0] + g[1] * 2};
  }
};

/// As checkpointing does: the block runs unrecorded, and again in backward.
struct Checkpoint : Function<Checkpoint> {
  static Tensor forward(
      AutogradContext* context,
      const Tensor& x,
      const Tensor& weight) {
    context->save_for_backward({x, weight});
    return torch::relu(torch::conv2d(x, weight, {}, 1, 1));
  }
  static variable_list backward(AutogradContext* context, variable_list g) {
    const auto saved = context->get_saved_variables();
    torch::AutoGradMode record(true);
    const auto x = saved[0].detach().requires_grad_();
    const auto weight = saved[1].detach().requires_grad_();
    const auto y = torch::relu(torch::conv2d(x, weight, {}, 1, 1));
    return torch::autograd::grad({y}, {x, weight}, {g[0]});
  }
};

/// Edits its input in place.
struct Shift : Function<Shift> {
  static Tensor forward(AutogradContext* context, Tensor x) {
    x.add_(1);
    context->mark_dirty({x});
    return x;
  }
  static variable_list backward(AutogradContext*, variable_list g) {
    return {g[0]};
  }
};

struct Pool : Function<Pool> {
  static Tensor forward(AutogradContext* context, const Tensor& x) {
    context->saved_data["sizes"] = x.sizes().vec();
    return x.mean({2, 3});
  }
  static variable_list backward(AutogradContext* context, variable_list g) {
    const auto sizes = context->saved_data["sizes"].toIntVector();
    const auto cells = static_cast<double>(sizes[2] * sizes[3]);
    return {(g[0] / cells).view({sizes[0], sizes[1], 1, 1}).expand(sizes)};
  }
};

struct Transposed : Function<Transposed> {
  static Tensor forward(AutogradContext*, const Tensor& x) {
    return channels_last(x).contiguous();
  }
  static variable_list backward(AutogradContext*, variable_list g) {
    return {channels_first(g[0])};
  }
};

struct Nested : Function<Nested> {
  static Tensor forward(AutogradContext* context, const Tensor& x) {
    context->save_for_backward({x});
    return Swish::apply(x) * 2;
  }
  static variable_list backward(AutogradContext* context, variable_list g) {
    torch::AutoGradMode record(true);
    const auto x = context->get_saved_variables()[0].detach().requires_grad_();
    return torch::autograd::grad({Swish::apply(x) * 2}, {x}, {g[0]});
  }
};

/// Its result is made by no operator.
struct Unseen : Function<Unseen> {
  static Tensor forward(AutogradContext*, const Tensor& x) {
    auto* copy = new std::vector<float>(
        x.data_ptr<float>(), x.data_ptr<float>() + x.numel());
    return torch::from_blob(
        copy->data(), x.sizes(), [copy](void*) { delete copy; });
  }
  static variable_list backward(AutogradContext*, variable_list g) {
    return {g[0]};
  }
};

/// Its result is complex.
struct Spectrum : Function<Spectrum> {
  static Tensor forward(AutogradContext*, const Tensor& x) {
    return torch::fft::fft2(x);
  }
  static variable_list backward(AutogradContext*, variable_list g) {
    return {torch::real(torch::fft::ifft2(g[0])) * 35};
  }
};

/// All but the head of a network: none of its maps is seen.
struct Whole : Function<Whole> {
  static Tensor forward(
      AutogradContext*,
      const Tensor& x,
      const Tensor& weight,
      bool convolves) {
    return pool(convolves ? torch::conv2d(x, weight) : x * weight[0]);
  }
  static variable_list backward(AutogradContext*, variable_list) {
    return {Tensor(), Tensor(), Tensor()};
  }
};

} // namespace

// -------------------------------------------------- channels last, tokens ---

TEST_CASE("capture: a stream laid out [N, h, w, C]", "[capture]") {
  auto ln = norm(8);
  auto wide = nn::Linear(8, 16), narrow = nn::Linear(16, 8);
  const auto mlp = [&](const Tensor& x) {
    return narrow(torch::gelu(wide(ln(x))));
  };
  const auto why = "laid out [N, h, w, C]";
  SECTION("ConvNeXt without permuting back: an addition") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = channels_last(x);
          return pool_last(y + mlp(y));
        },
        why);
  }
  SECTION("the same the other way round") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = channels_last(x);
          return pool_last(mlp(y) + y);
        },
        why);
  }
  SECTION("a scale") {
    auto gamma = torch::full({8}, 0.5).requires_grad_();
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(channels_last(x) * gamma);
        },
        why);
  }
  SECTION("an activation, also in place") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(torch::gelu(channels_last(x)));
        },
        why);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(narrow(wide(channels_last(x))).relu_());
        },
        why);
  }
  SECTION("a linear layer, dropout, a norm, a concatenation, a slice") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(narrow(wide(channels_last(x))));
        },
        why);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(torch::dropout(channels_last(x), 0.5, true));
        },
        why);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(ln(channels_last(x)));
        },
        why);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = channels_last(x);
          return pool_last(torch::cat({y, y * 2}, 3));
        },
        why,
        16);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(channels_last(x).slice(3, 0, 4).contiguous());
        },
        why,
        4);
  }
  SECTION("a gate from a convolution does not make it sure") {
    auto gate = nn::Conv2d(nn::Conv2dOptions(5, 1, 1));
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = channels_last(x); // [N, 5, 7, 8]
          return pool_last(y * gate(y).mean({2}, true));
        },
        why);
  }
  SECTION("CycleMLP: linear layers along the rows, too") {
    auto rows = nn::Linear(5, 5);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = channels_last(x);
          const auto h = rows(y.transpose(1, 3)).transpose(1, 3);
          return pool_last(y + mlp(h + y));
        },
        why);
  }
  SECTION("other ways to lay it out so") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = x.flatten(2).transpose(1, 2).reshape({-1, 5, 7, 8});
          return pool_last(torch::relu(y));
        },
        why);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(torch::einsum("nchw->nhwc", {x}).mul(2));
        },
        why);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(x.movedim(1, 3).contiguous().tanh());
        },
        why);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = x.contiguous(torch::MemoryFormat::ChannelsLast);
          return pool_last(channels_last(y).sigmoid());
        },
        why);
  }
  SECTION("where rows, columns and channels are as many") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = F::pad(x, F::PadFuncOptions({1, 0, 3, 0}));
          return pool_last(mlp(channels_last(y)) + channels_last(y));
        },
        why);
    check_taken([&](const Tensor& x, Tensor& last) {
      const auto y = F::pad(x, F::PadFuncOptions({1, 0, 3, 0}));
      last = channels_first(mlp(channels_last(y))) + y;
      return pool(last);
    });
  }
  SECTION("very deep") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          auto y = channels_last(x);
          for (int i = 0; i < 20000; ++i) {
            y = i % 2 == 0 ? y + 1 : 1 - y;
          }
          return pool_last(y);
        },
        why);
  }
  SECTION("only a change of layout: the map before it") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = x;
      return pool_last(channels_last(x));
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = x;
      return pool(channels_first(channels_last(x).contiguous()));
    });
  }
}

TEST_CASE("capture: ConvNeXt and Swin", "[capture]") {
  auto depthwise = nn::Conv2d(nn::Conv2dOptions(8, 8, 3).padding(1).groups(8));
  auto ln = norm(8);
  auto wide = nn::Linear(8, 16), narrow = nn::Linear(16, 8);
  auto gamma = torch::full({8, 1, 1}, 0.5).requires_grad_();
  const auto mlp = [&](const Tensor& x) {
    return narrow(torch::gelu(wide(ln(x))));
  };
  SECTION("ConvNeXt") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = x;
      for (int i = 0; i < 3; ++i) {
        last =
            last + gamma * channels_first(mlp(channels_last(depthwise(last))));
      }
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = gamma * channels_first(mlp(channels_last(depthwise(x)))) + x;
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = channels_first(mlp(channels_last(depthwise(x))));
      last += x;
      return pool(last);
    });
  }
  SECTION("its last block alone, and a norm over channels at the end") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = channels_first(mlp(channels_last(depthwise(x))));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = channels_first(ln(channels_last(depthwise(x))));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = channels_first(ln(channels_last(depthwise(x))).contiguous())
                 .contiguous()
                 .clone();
      return pool(last);
    });
  }
  SECTION("Swin: windows, a shift, a norm, permuted at the end") {
    auto qkv = nn::Linear(8, 24), out = nn::Linear(8, 8);
    const auto attend = [&](const Tensor& x) { // [N, 4, 6, C], windows of 2
      auto y = torch::roll(x, {-1, -1}, {1, 2})
                   .view({kImages, 2, 2, 3, 2, 8})
                   .permute({0, 1, 3, 2, 4, 5})
                   .reshape({kImages * 6, 4, 8});
      const auto parts = qkv(y).chunk(3, -1);
      const auto weight =
          torch::softmax(parts[0].bmm(parts[1].transpose(1, 2)), -1);
      y = out(weight.bmm(parts[2]));
      y = y.view({kImages, 2, 3, 2, 2, 8})
              .permute({0, 1, 3, 2, 4, 5})
              .reshape({kImages, 4, 6, 8});
      return torch::roll(y, {1, 1}, {1, 2});
    };
    const auto stream = [&](const Tensor& x) {
      auto y = channels_last(x.slice(2, 0, 4).slice(3, 0, 6));
      y = y + attend(ln(y));
      return y + mlp(y);
    };
    check_refused(
        [&](const Tensor& x, Tensor&) { return pool_last(stream(x)); },
        "laid out [N, h, w, C]");
    check_taken([&](const Tensor& x, Tensor& last) {
      last = channels_first(ln(stream(x)));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) { // without a residual
      const auto y = channels_last(x.slice(2, 0, 4).slice(3, 0, 6));
      last = channels_first(attend(y));
      return pool(last);
    });
  }
}

TEST_CASE("capture: tokens on the way to the last map", "[capture]") {
  auto linear = nn::Linear(8, 8);
  const auto tokens_of = [](const Tensor& x) {
    return x.flatten(2).transpose(1, 2);
  };
  SECTION("pooled as tokens: the map they were made from") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = x;
      return linear(tokens_of(x)).mean(1);
    });
  }
  SECTION("brought back to a map, for a residual or without") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = linear(tokens_of(x)).transpose(1, 2).view({kImages, 8, 5, 7}) + x;
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = linear(tokens_of(x)).transpose(1, 2).view({kImages, 8, 5, 7});
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(
          linear(tokens_of(x)).transpose(1, 2).reshape({kImages, 8, 5, 7}));
      return pool(last);
    });
  }
  SECTION("rows and columns changed places") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool(torch::relu(x.transpose(2, 3)));
        },
        "laid out [N, C, w, h]");
  }
  SECTION("a class token beside them: nothing tells how they lie") {
    auto token = torch::zeros({1, 1, 8}).requires_grad_();
    const auto with_token = [&](const Tensor& x) {
      return torch::cat({token.expand({kImages, 1, 8}), tokens_of(x)}, 1);
    };
    check_taken([&](const Tensor& x, Tensor& last) {
      last = x;
      return linear(with_token(x)).mean(1);
    });
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto y = linear(with_token(x)).slice(1, 1);
          return pool(
              torch::relu(y.transpose(1, 2).reshape({kImages, 8, 5, 7})));
        },
        "laid out [N, C, ?, ?]");
  }
  SECTION("an einsum over channels") {
    auto weight = torch::randn({8, 8}).requires_grad_();
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::einsum("nchw,dc->ndhw", {x, weight});
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::einsum("nchw,dc->ndhw", {x, weight}).relu();
      return pool(last);
    });
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(torch::einsum("nchw,dc->nhwd", {x, weight}).relu());
        },
        "another layout");
  }
}

// --------------------------------------------------------- nodes unseen ---

TEST_CASE("capture: maps that autograd Functions make", "[capture]") {
  auto second = conv(8, 8);
  auto bn = nn::BatchNorm2d(8);
  SECTION("an activation") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Swish::apply(bn(second(x)));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Swish::apply(Swish::apply(second(x)));
      return pool(last);
    });
  }
  SECTION("one that the network lets go of") {
    auto head = nn::Linear(8, 2);
    const auto x = torch::rand({2, 8, 5, 7});
    const auto seen =
        care::capture([&] { return head(pool(Swish::apply(second(x)))); });
    const auto y = second(x);
    CHECK(care_test::allclose(seen.features, y * torch::sigmoid(y)));
  }
  SECTION("of another resolution than the map before") {
    auto smaller = conv(8, 8, 2);
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Swish::apply(smaller(x));
      return pool(last);
    });
  }
  SECTION("a checkpoint") {
    auto weight = torch::randn({6, 8, 3, 3}).mul_(0.1).requires_grad_();
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = Checkpoint::apply(x, weight);
          return pool(last);
        },
        6);
  }
  SECTION("two results") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Both::apply(second(x))[1];
      return pool(last);
    });
    check_refused(
        [&](const Tensor& x, Tensor&) {
          const auto both = Both::apply(second(x));
          return pool(both[0]) + pool(both[1]).relu();
        },
        "but got 2");
  }
  SECTION("an operator after it") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Swish::apply(second(x)) + x;
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Swish::apply(second(x)).relu_();
      return pool(last);
    });
  }
  SECTION("pooled") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Swish::apply(second(x));
      return pool(torch::max_pool2d(last, 2));
    });
  }
  SECTION("its input, edited in place") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Shift::apply(second(x));
      return pool(last);
    });
  }
  SECTION("a layout it keeps") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(Swish::apply(channels_last(x)));
        },
        "laid out [N, h, w, C]");
  }
  SECTION("one that pools") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      return Pool::apply(last);
    });
  }
  SECTION("one that changes the layout") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool_last(Transposed::apply(second(x)));
        },
        "laid out [?, ?, ?, ?]");
  }
  SECTION("one within another") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = Nested::apply(second(x));
      return pool(last);
    });
  }
  SECTION("a result that no operator returned") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool(Unseen::apply(second(x)));
        },
        "Unseen");
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(Unseen::apply(second(x)));
      return pool(last);
    });
  }
  SECTION("a complex one") {
    auto head = nn::Linear(8, 2);
    const auto x = torch::rand({2, 8, 5, 7});
    Tensor last;
    const auto seen = care::capture([&] {
      last = Spectrum::apply(second(x));
      return head(pool(last).abs());
    });
    CHECK(seen.features.is_same(last));
  }
  SECTION("in the head of a backbone without gradients, the loss off") {
    auto hidden = nn::Linear(8, 8), head = nn::Linear(8, 2);
    const auto x = torch::rand({2, 8, 5, 7});
    const care::Guide<> off(care::GuideOptions().weight(0.0));
    const auto seen = off.watch([&] {
      Tensor pooled;
      {
        torch::NoGradGuard no_grad;
        pooled = pool(second(x));
      }
      return head(Swish::apply(hidden(pooled)));
    });
    CHECK_FALSE(seen.features.defined());
  }
  SECTION("one that is the whole network") {
    auto head = nn::Linear(8, 2);
    const auto x = torch::rand({2, 8, 5, 7});
    const auto weight = torch::rand({8, 8, 1, 1}).requires_grad_();
    for (const bool convolves : {false, true}) {
      CAPTURE(convolves);
      const auto forward = [&] {
        return head(Whole::apply(x, weight, convolves));
      };
      CARE_REQUIRE_THROWS_AS(
          care::capture(forward), c10::ValueError, "what runs within");
      CARE_REQUIRE_THROWS(care::capture(forward), "Whole");
    }
  }
}

// ------------------------------------------------------------- in place ---

TEST_CASE("capture: pooled and copied maps edited in place", "[capture]") {
  auto second = conv(8, 8);
  SECTION("a pooled one") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::max_pool2d(second(x), 2).relu_();
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::avg_pool2d(second(x), 2);
      last += torch::max_pool2d(x, 2);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::adaptive_avg_pool2d(second(x), {3, 3}).mul_(2);
      return pool(last);
    });
  }
  SECTION("a copy") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).clone();
      last.slice(2, 0, 2).zero_();
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).clone();
      last.relu_();
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).to(torch::kDouble).mul_(2);
      return pool(last).to(torch::kFloat);
    });
  }
  SECTION("a pooled or copied one, by a view of it, a mask, an index") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::max_pool2d(second(x), 2);
      last.slice(1, 0, 4).zero_();
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).clone();
      last.masked_fill_(x > 0.2, 0);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).contiguous().clone();
      last[0] = x[1];
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::avg_pool2d(second(x), 2);
      last.index_put_({torch::tensor({0, 1}), torch::tensor({3, 3})}, 1);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::zeros_like(x);
      last.copy_(second(x));
      last.add_(x);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = F::dropout2d(
          torch::max_pool2d(second(x), 2),
          F::Dropout2dFuncOptions().p(0.5).inplace(true));
      return pool(last);
    });
  }
  SECTION("a map, by a view of it") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      last.slice(1, 0, 4).sigmoid_();
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      last.view({kImages, 8, 35}).mul_(2);
      return pool(last);
    });
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = second(x).slice(1, 0, 4).relu_();
          return pool(last);
        },
        4);
  }
  SECTION("a tensor filled part by part") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::zeros({kImages, 8, 5, 7});
      last.slice(1, 0, 4).copy_(second(x).slice(1, 0, 4));
      last.slice(1, 4, 8).copy_(x.slice(1, 4, 8));
      return pool(last);
    });
  }
  SECTION("a buffer of tokens or of rows, filled part by part") {
    check_taken([&](const Tensor& x, Tensor& last) {
      auto tokens = torch::zeros({kImages, 8, 35});
      tokens.slice(1, 0, 4).copy_(second(x).slice(1, 0, 4).flatten(2));
      tokens.slice(1, 4, 8).copy_(x.slice(1, 4, 8).flatten(2));
      last = torch::relu(tokens.view({kImages, 8, 5, 7}));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      auto rows = torch::zeros({kImages * 35, 8});
      rows.slice(1, 0, 8).copy_(channels_last(second(x)).reshape({-1, 8}));
      last = torch::relu(channels_first(rows.view({kImages, 5, 7, 8})));
      return pool(last);
    });
  }
  SECTION("one that was pooled before it was edited") {
    check_refused(
        [&](const Tensor& x, Tensor&) {
          auto y = second(x);
          auto pooled = pool(y);
          y.mul_(2);
          return pooled;
        },
        "overwritten");
  }
}

// ------------------------------------------------ what was refused before ---

TEST_CASE("capture: norms, transposed convolutions, shuffles", "[capture]") {
  auto second = conv(8, 8);
  SECTION("a transposed convolution, as in a U-Net") {
    auto up =
        nn::ConvTranspose2d(nn::ConvTranspose2dOptions(8, 8, 2).stride(2));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = up(x);
      return pool(last);
    });
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          auto skip = second(x).slice(2, 0, 4).slice(3, 0, 6);
          last = torch::cat({up(torch::max_pool2d(skip, 2)), skip}, 1);
          return pool(last);
        },
        16);
  }
  SECTION("nnU-Net: InstanceNorm and LeakyReLU, in place or not") {
    auto in = nn::InstanceNorm2d(nn::InstanceNorm2dOptions(8).affine(true));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = in(second(x));
      torch::leaky_relu_(last, 0.01);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::leaky_relu(in(second(x)), 0.01);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = in(second(x)) * x;
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = in(second(x)).sigmoid_() * x;
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = in(second(x)).relu_();
      return pool(torch::max_pool2d(last, 2));
    });
  }
  SECTION("GroupNorm") {
    auto gn = nn::GroupNorm(nn::GroupNormOptions(2, 8));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = gn(second(x)).relu_();
      return pool(last);
    });
  }
  SECTION("norms of other kinds") {
    auto all = nn::LayerNorm(nn::LayerNormOptions({8, 5, 7}));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = all(second(x));
      return pool(last);
    });
    auto local = nn::LocalResponseNorm(3);
    check_taken([&](const Tensor& x, Tensor& last) {
      last = local(second(x));
      return pool(last);
    });
    auto running = nn::InstanceNorm2d(
        nn::InstanceNorm2dOptions(8).track_running_stats(true));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = running(second(x)).mul_(2).relu_();
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = F::normalize(second(x), F::NormalizeFuncOptions().p(2).dim(1));
      return pool(last);
    });
  }
  SECTION("a Fourier transform") {
    auto filter = torch::randn({8, 5, 4, 2}).requires_grad_();
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::fft::irfft2(
          torch::fft::rfft2(second(x)) * torch::view_as_complex(filter),
          std::vector<int64_t>{5, 7});
      return pool(last);
    });
  }
  SECTION("a network in channels-last memory") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last =
          torch::relu(second(x.contiguous(torch::MemoryFormat::ChannelsLast)));
      return pool(last);
    });
  }
  SECTION("ShuffleNet: channels shuffled by views") {
    const auto shuffled = [](const Tensor& x) {
      return x.view({kImages, 2, 4, 5, 7})
          .transpose(1, 2)
          .reshape({kImages, 8, 5, 7});
    };
    check_taken([&](const Tensor& x, Tensor& last) {
      last = shuffled(second(x));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(shuffled(second(x)));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::channel_shuffle(second(x), 2);
      return pool(last);
    });
  }
  SECTION("squeeze, unsqueeze") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).unsqueeze(2).squeeze(2).relu();
      return pool(last);
    });
    auto volume = nn::Conv3d(nn::Conv3dOptions(8, 8, {1, 3, 3}));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = volume(x.unsqueeze(2)).squeeze(2);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = volume(x.unsqueeze(2)).relu().select(2, 0);
      return pool(last);
    });
  }
  SECTION("pixels shuffled") {
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = torch::pixel_shuffle(second(x), 2);
          return pool(last);
        },
        2);
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = torch::pixel_unshuffle(
              second(x).slice(2, 0, 4).slice(3, 0, 6), 2);
          return pool(last);
        },
        32);
  }
  SECTION("a stack of maps, flattened or reduced") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::stack({second(x), x}, 1).sum(1);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = std::get<0>(torch::stack({second(x), x}, 4).max(4));
      return pool(last);
    });
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = torch::stack({second(x), x}, 2).flatten(1, 2).relu();
          return pool(last);
        },
        16);
  }
}

TEST_CASE("capture: everyday networks", "[capture]") {
  auto second = conv(8, 8);
  SECTION("squeeze and excitation") {
    auto down = nn::Linear(8, 4), up = nn::Linear(4, 8);
    check_taken([&](const Tensor& x, Tensor& last) {
      const auto y = second(x);
      const auto gate = torch::sigmoid(up(torch::relu(down(pool(y)))));
      last = y * gate.view({kImages, 8, 1, 1});
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      const auto y = second(x);
      const auto gate = torch::sigmoid(up(torch::relu(down(pool(y)))));
      last = gate.unsqueeze(-1).unsqueeze(-1).expand_as(y) * y + x;
      return pool(last);
    });
  }
  SECTION("attention to places") {
    auto place = nn::Conv2d(nn::Conv2dOptions(2, 1, 3).padding(1));
    check_taken([&](const Tensor& x, Tensor& last) {
      const auto y = second(x);
      const auto both =
          torch::cat({y.mean(1, true), std::get<0>(y.max(1, true))}, 1);
      last = y * torch::sigmoid(place(both));
      return pool(last);
    });
  }
  SECTION("dropout of channels") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = F::dropout2d(second(x), F::Dropout2dFuncOptions().p(0.5));
      return pool(last);
    });
  }
  SECTION("a head on the flattened map, as in VGG") {
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = second(x).relu();
          return torch::adaptive_avg_pool2d(last, {3, 3}).flatten(1);
        },
        72);
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = second(x);
          return last.flatten(1);
        },
        280);
  }
  SECTION("a convolution as the head") {
    auto all = nn::Conv2d(nn::Conv2dOptions(8, 8, {3, 3}));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).relu();
      return all(torch::adaptive_avg_pool2d(last, {3, 3})).flatten(1);
    });
    // Its weights are a 4-D result, but no map.
    auto weight = torch::randn({8, 8, 3, 3}).requires_grad_();
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).relu();
      const auto standard = weight - weight.mean({1, 2, 3}, true);
      const auto pooled = torch::adaptive_avg_pool2d(last, {3, 3});
      return torch::conv2d(pooled, standard).flatten(1);
    });
  }
  SECTION("a spatial transformer, padding, resampling") {
    auto angle = torch::zeros({kImages, 2, 3}).requires_grad_();
    check_taken([&](const Tensor& x, Tensor& last) {
      const auto grid =
          torch::affine_grid_generator(angle + 0.1, {kImages, 8, 5, 7}, false);
      last = torch::grid_sampler(second(x), grid, 0, 0, false);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = F::pad(second(x), F::PadFuncOptions({1, 1, 2, 0}));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = F::pad(
          second(x), F::PadFuncOptions({1, 1, 2, 0}).mode(torch::kReflect));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = F::interpolate(
          second(x),
          F::InterpolateFuncOptions()
              .size(std::vector<int64_t>{10, 14})
              .mode(torch::kBilinear)
              .align_corners(false));
      return pool(last);
    });
    check_taken(
        [&](const Tensor& x, Tensor& last) { // DeepLab's image-level branch
          const auto y = second(x);
          const auto whole = F::interpolate(
              torch::adaptive_avg_pool2d(y, {1, 1}),
              F::InterpolateFuncOptions().size(std::vector<int64_t>{5, 7}));
          last = torch::cat({y, whole}, 1);
          return pool(last);
        },
        16);
  }
  SECTION("pooled in two ways, or at several sizes") {
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = second(x).relu();
          return torch::cat({pool(last), last.amax({2, 3})}, 1);
        },
        16);
    check_taken(
        [&](const Tensor& x, Tensor& last) {
          last = second(x).relu();
          return torch::cat(
              {torch::adaptive_avg_pool2d(last, {1, 1}).flatten(1),
               torch::adaptive_avg_pool2d(last, {2, 3}).flatten(1),
               torch::max_pool2d(last, 2).flatten(1)},
              1);
        },
        8 + 48 + 48);
  }
  SECTION("two streams pooled apart") {
    auto third = conv(8, 8);
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return pool(second(x)) * pool(third(x));
        },
        "but got 2");
  }
}

// ------------------------------------------------- the steps of a pooling ---

TEST_CASE("capture: the steps of a pooling are no maps", "[capture]") {
  auto second = conv(8, 8);
  auto bn = nn::BatchNorm2d(8);
  SECTION("generalised mean (GeM)") {
    auto p = torch::full({1}, 3.0).requires_grad_();
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(second(x));
      return pool(last.clamp_min(1e-6).pow(p)).pow(1 / p);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::silu(second(x));
      const auto y = last.clamp(1e-6).pow(3);
      return torch::avg_pool2d(y, {5, 7}).pow(1.0 / 3).flatten(1);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(second(x) + x);
      return (pool(last.pow(2)) + 1e-6).sqrt();
    });
    check_taken([&](const Tensor& x, Tensor& last) { // the activation itself
      last = bn(second(x)).clamp_min(0);
      return (pool(last.pow(3)) + 1e-6).pow(1.0 / 3);
    });
  }
  SECTION("LPPool2d") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(second(x));
      return F::lp_pool2d(last, F::LPPool2dFuncOptions(2.0, {5, 7})).flatten(1);
    });
  }
  SECTION("log-sum-exp") {
    auto r = torch::full({1}, 5.0).requires_grad_();
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      return torch::logsumexp(10 * last, {2, 3}) / 10;
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x) + x;
      return torch::log(pool(torch::exp(r * last))) / r;
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      return torch::logsumexp(last.flatten(2), 2);
    });
  }
  SECTION("softmax pooling") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      const auto weight = torch::softmax(last.flatten(2), 2).view_as(last);
      return (last * weight).sum({2, 3});
    });
    auto score = nn::Conv2d(nn::Conv2dOptions(8, 1, 1));
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      const auto weight = torch::softmax(score(last).flatten(2), 2);
      return (weight * last.flatten(2)).sum(2);
    });
  }
  SECTION("the same steps without their counterpart are the map") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(second(x)).pow(3);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::exp(second(x));
      return (pool(last) + 1e-6).sqrt();
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x) * 0.5;
      return torch::log(pool(last).abs() + 1);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x) * torch::softmax(x, 1);
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      const auto y = second(x);
      last = torch::relu(y * torch::softmax(y.flatten(2), 2).view_as(y));
      return pool(last);
    });
    auto linear = nn::Linear(8, 8);
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x).pow(2); // the root belongs to another layer
      return linear(pool(last)).abs().sqrt();
    });
  }
  SECTION("a pooling of columns, then of rows") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      return last.mean(3).amax(2);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = second(x);
      return last.mean(3, true).mean(2, true).flatten(1);
    });
  }
}

TEST_CASE("capture: maps of one row", "[capture]") {
  auto row = nn::Conv2d(nn::Conv2dOptions(8, 8, {1, 3}));
  auto tall = nn::Conv2d(nn::Conv2dOptions(8, 8, {5, 3}));
  auto one = nn::Conv2d(nn::Conv2dOptions(8, 8, 1));
  SECTION("throughout") {
    auto head = nn::Linear(8, 2);
    Tensor last;
    const auto seen = care::capture([&] {
      last = row(torch::rand({2, 8, 1, 20})).relu() + 1;
      return head(pool(torch::max_pool2d(last, {1, 2})));
    });
    CHECK(torch::equal(seen.features, last));
  }
  SECTION("made by a convolution, or pooled and then worked on") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = torch::relu(tall(x));
      return pool(last);
    });
    check_taken([&](const Tensor& x, Tensor& last) {
      last = row(x.mean(2, true));
      return pool(last);
    });
  }
  SECTION("pooled, or a gate: not the last map") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = one(x);
      return pool(last.mean(2, true)) + pool(torch::max_pool2d(last, {1, 7}));
    });
    check_taken([&](const Tensor& x, Tensor& last) { // coordinate attention
      last = x * torch::sigmoid(one(x.mean(2, true))) *
          torch::sigmoid(one(x.mean(3, true)));
      return pool(last);
    });
  }
  SECTION("tokens in one column are none") {
    check_taken([&](const Tensor& x, Tensor& last) {
      last = one(x);
      return pool(torch::relu(one(last.flatten(2).unsqueeze(3))));
    });
  }
  SECTION("volumes are none, whatever comes before them") {
    auto volume = nn::Conv3d(nn::Conv3dOptions(1, 8, 3));
    check_refused(
        [&](const Tensor& x, Tensor&) {
          return volume(x.unsqueeze(1)).relu().mean({2, 3, 4});
        },
        "maps are 2-D");
  }
}
