// Tests of care/map_layout.hpp, and of networks that keep their maps as tokens
// or [N, h, w, C]: captured, mapped and guided as when they are split by hand.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/support.hpp"
#include "support/warnings.hpp"

#include <care/attention.hpp>
#include <care/capture.hpp>
#include <care/guide.hpp>
#include <care/map_layout.hpp>

#include <torch/nn.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace nn = torch::nn;
using care::MapLayout;
using care::TargetLayer;
using torch::Tensor;

namespace {

constexpr int64_t kRows = 3, kColumns = 5, kDim = 8, kClasses = 3;

nn::LayerNorm norm(int64_t channels) {
  return nn::LayerNorm(nn::LayerNormOptions({channels}));
}

/// Attention of two heads, with what many write: one layer for queries, keys
/// and values, and products of matrices.
struct Block : nn::Module {
  Block() {
    register_module("norm1", norm1);
    register_module("qkv", qkv);
    register_module("out", out);
    register_module("norm2", norm2);
    register_module("wide", wide);
    register_module("narrow", narrow);
  }

  Tensor attend(const Tensor& x) {
    const auto n = x.size(0), t = x.size(1);
    const auto parts =
        qkv(x).view({n, t, 3, 2, kDim / 2}).permute({2, 0, 3, 1, 4});
    const auto weight = torch::softmax(
        parts[0].matmul(parts[1].transpose(2, 3)) / std::sqrt(kDim / 2), -1);
    return out(weight.matmul(parts[2]).transpose(1, 2).reshape({n, t, kDim}));
  }
  Tensor forward(const Tensor& tokens) {
    normed = norm1(tokens);
    const auto x = tokens + attend(normed);
    return x + narrow(torch::gelu(wide(norm2(x))));
  }

  nn::LayerNorm norm1 = norm(kDim), norm2 = norm(kDim);
  nn::Linear qkv{kDim, 3 * kDim}, out{kDim, kDim};
  nn::Linear wide{kDim, 2 * kDim}, narrow{2 * kDim, kDim};
  Tensor normed; // noted on the way
};

/// A vision transformer on pictures of 12 x 20: 3 x 5 patches, behind `prefix`
/// tokens of its own. `read` makes a vector [N, C] of the tokens.
struct Vit : nn::Module {
  using Read = std::function<Tensor(const Tensor&)>;

  Vit(int64_t tokens_before, Read reader)
      : prefix(tokens_before),
        read(std::move(reader)) {
    register_module("patches", patches);
    register_module("first", first);
    register_module("second", second);
    register_module("last", last);
    register_module("head", head);
    own = register_parameter("own", torch::randn({1, prefix, kDim}));
    place = register_parameter(
        "place", torch::randn({1, prefix + kRows * kColumns, kDim}));
    to(torch::kDouble);
  }

  Tensor forward(const Tensor& x) {
    const auto cells = patches(x).flatten(2).transpose(1, 2);
    const auto before = own.expand({x.size(0), -1, -1});
    embedded = torch::cat({before, cells}, 1) + place;
    middle = first->forward(embedded); // what the last attention reads
    normed = last(second->forward(middle));
    return head(read(normed));
  }

  int64_t prefix;
  Read read;
  nn::Conv2d patches{nn::Conv2dOptions(3, kDim, 4).stride(4)};
  std::shared_ptr<Block> first = std::make_shared<Block>();
  std::shared_ptr<Block> second = std::make_shared<Block>();
  nn::LayerNorm last = norm(kDim);
  nn::Linear head{kDim, kClasses};
  Tensor own, place;
  Tensor embedded, middle, normed; // noted on the way
};

std::shared_ptr<Vit> make_vit(int64_t prefix, Vit::Read read) {
  torch::manual_seed(3);
  return std::make_shared<Vit>(prefix, std::move(read));
}

Tensor class_token(const Tensor& x) {
  return x.select(1, 0);
}

Tensor pictures() {
  torch::manual_seed(5);
  return torch::rand({2, 3, 12, 20}, torch::kDouble);
}

Tensor targets() {
  return torch::tensor({0, 2}, torch::kLong);
}

care::Boxes boxes() {
  return care::Boxes::from_lists({{{4, 2, 14, 7}}, {{0, 4, 9, 12}}}, {12, 20});
}

TargetLayer tokens(int64_t prefix) {
  return TargetLayer().tokens(prefix, {kRows, kColumns});
}

/// Grad-CAM of tokens by hand: channels weighted by their mean gradient over
/// the cells, which lie row by row behind the prefix.
Tensor token_map(const Tensor& x, int64_t prefix, const Tensor& gradient) {
  const auto cells = x.slice(1, prefix);
  const auto weight = gradient.slice(1, prefix).mean(1, /*keepdim=*/true);
  const auto map = (cells * weight).sum(2);
  std::vector<Tensor> rows;
  for (int64_t y = 0; y < kRows; ++y) {
    rows.push_back(map.slice(1, y * kColumns, (y + 1) * kColumns));
  }
  return torch::stack(rows, 1);
}

Tensor token_map(
    const Tensor& x,
    int64_t prefix,
    const Tensor& logits,
    bool full) {
  const auto score = logits[0][0] + logits[1][2]; // of `targets`
  const auto gradient = torch::autograd::grad({score}, {x}, {}, true, full)[0];
  return token_map(x, prefix, full ? gradient : gradient.detach());
}

std::vector<Tensor> gradients_of(nn::Module& net, const Tensor& loss) {
  net.zero_grad();
  loss.backward();
  std::vector<Tensor> result;
  for (const auto& p : net.parameters()) {
    result.push_back(
        p.grad().defined() ? p.grad().clone() : torch::zeros_like(p));
  }
  return result;
}

double size_of(const Tensor& x) {
  return x.defined() ? x.abs().sum().item<double>() : 0;
}

} // namespace

TEST_CASE("MapLayout: where each cell lies", "[layout]") {
  // 100 n + 10 y + x in channel 0, its negative in channel 1.
  const auto n = torch::arange(2).view({2, 1, 1});
  const auto y = torch::arange(3).view({1, 3, 1});
  const auto x = torch::arange(4).view({1, 1, 4});
  const auto plane = (100 * n + 10 * y + x).to(torch::kFloat);
  const auto map = torch::stack({plane, -plane}, 1); // [2, 2, 3, 4]
  CHECK(MapLayout().to_map(map).is_same(map));

  const auto last = torch::stack({plane, -plane}, 3);
  CHECK(torch::equal(MapLayout::channels_last().to_map(last), map));
  CHECK(MapLayout::channels_last().map_size(last.sizes()) == care::Size{3, 4});

  const auto cells = last.view({2, 12, 2});
  const auto own = torch::full({2, 5, 2}, 7.0);
  const auto layout = MapLayout::tokens(5, {3, 4});
  CHECK(torch::equal(layout.to_map(torch::cat({own, cells}, 1)), map));
  CHECK(torch::equal(MapLayout::tokens(0, {3, 4}).to_map(cells), map));
  CHECK(layout.map_size({2, 17, 2}) == care::Size{3, 4});
  CHECK(layout.fits({2, 17, 2}));
  CHECK_FALSE(layout.fits({2, 12, 2}));
  CHECK_FALSE(layout.fits({2, 17, 2, 1}));
  CHECK_FALSE(MapLayout().fits({2, 17, 2}));
  // A view, also of tokens that are not contiguous: no copy.
  const auto turned = torch::rand({2, 2, 17}).transpose(1, 2);
  CHECK(layout.to_map(turned).storage().is_alias_of(turned.storage()));

  CHECK(MapLayout().str() == "[N, C, h, w]");
  CHECK(MapLayout::channels_last().str() == "[N, h, w, C]");
  CHECK(layout.str() == "[N, T, C] with T = prefix + h * w = 5 + 3 * 4 = 17");
  CARE_REQUIRE_THROWS_AS(
      TargetLayer().tokens(-1, {3, 4}),
      c10::ValueError,
      "expected a prefix of at least 0 and a map of at least 1x1, but got "
      "prefix -1 and h, w 3x4");
  CARE_REQUIRE_THROWS_AS(
      TargetLayer().tokens(1, {0, 4}), c10::ValueError, "h, w 0x4");
}

TEST_CASE("capture: tokens whose cells reach the logits", "[layout]") {
  const auto x = pictures();
  struct Case {
    std::string name;
    int64_t prefix;
    Vit::Read read;
    bool last; // the last norm, or what the last attention reads
  };
  const std::vector<Case> cases{
      {"the class token, selected", 1, class_token, false},
      {"sliced",
       1,
       [](const Tensor& t) { return t.slice(1, 0, 1).squeeze(1); },
       false},
      {"indexed",
       1,
       [](const Tensor& t) {
         using torch::indexing::Slice;
         return t.index({Slice(), 0});
       },
       false},
      {"split",
       1,
       [](const Tensor& t) {
         return t.split(1, 1)[0][0] * 0 +
             t.split_with_sizes({1, kRows * kColumns}, 1)[0].squeeze(1);
       },
       false},
      {"unbound", 1, [](const Tensor& t) { return t.unbind(1)[0]; }, false},
      {"gathered",
       1,
       [](const Tensor& t) {
         return t.index_select(1, torch::zeros({1}, torch::kLong)).squeeze(1);
       },
       false},
      {"of tokens in another order",
       1,
       [](const Tensor& t) { return t.transpose(0, 1)[0]; },
       false},
      {"the second of three own tokens",
       3,
       [](const Tensor& t) { return t.select(1, 1); },
       false},
      {"the mean of three own tokens",
       3,
       [](const Tensor& t) { return t.slice(1, 0, 3).mean(1); },
       false},
      {"the mean of the cells",
       1,
       [](const Tensor& t) { return t.slice(1, 1).mean(1); },
       true},
      {"of all, without a prefix",
       0,
       [](const Tensor& t) { return t.mean(1); },
       true},
      {"by the pooling of a map",
       0,
       [](const Tensor& t) {
         return torch::adaptive_avg_pool1d(t.transpose(1, 2), 1).flatten(1);
       },
       true},
      {"the class token and the mean of the cells",
       1,
       [](const Tensor& t) { return t.select(1, 0) + t.slice(1, 1).mean(1); },
       true},
  };
  for (const auto& each : cases) {
    CAPTURE(each.name);
    auto net = make_vit(each.prefix, each.read);
    const auto seen = care::capture(net, x, {tokens(each.prefix)});
    const auto& expected = each.last ? net->normed : net->middle;
    REQUIRE(seen.features.sizes() == expected.sizes());
    CHECK(torch::equal(seen.features, expected));
    const auto scores = care::class_scores(seen.logits, targets());
    const auto map = care::class_attention_map(
        seen.features,
        scores,
        care::GradCam(),
        care::GradientOrder::kFirst,
        seen.layout());
    CHECK(map.abs().amax({1, 2}).min().item<double>() > 1e-6);
    CHECK(care_test::allclose(
        map,
        token_map(expected, each.prefix, seen.logits, false),
        1e-12,
        1e-10));
  }
}

TEST_CASE("capture: attention of torch::nn on tokens", "[layout]") {
  // torch::nn::MultiheadAttention wants [T, N, C].
  torch::manual_seed(1);
  auto attention = nn::MultiheadAttention(kDim, 2);
  auto ln = norm(kDim), end = norm(kDim);
  auto head = nn::Linear(kDim, kClasses);
  auto patches = nn::Conv2d(nn::Conv2dOptions(3, kDim, 4).stride(4));
  const auto own = torch::randn({2, 1, kDim}).requires_grad_();
  Tensor stream;
  const auto seen = care::capture(
      [&](const Tensor& x) {
        stream = torch::cat({own, patches(x).flatten(2).transpose(1, 2)}, 1);
        const auto y = ln(stream).transpose(0, 1);
        const auto z = stream + std::get<0>(attention(y, y, y)).transpose(0, 1);
        return head(end(z).select(1, 0));
      },
      pictures().to(torch::kFloat),
      {tokens(1)});
  CHECK(seen.features.is_same(stream));
}

TEST_CASE("capture: a patch embedding is no last map", "[layout]") {
  torch::manual_seed(1);
  auto patches = nn::Conv2d(nn::Conv2dOptions(3, kDim, 4).stride(4));
  auto stem = nn::Conv2d(nn::Conv2dOptions(3, 3, 3).padding(1));
  auto attention = nn::MultiheadAttention(kDim, 2);
  auto head = nn::Linear(kDim, kClasses);
  Tensor map;
  const auto rest = [&](const Tensor& cells) {
    map = cells;
    const auto y = cells.flatten(2).permute({2, 0, 1});
    return head((y + std::get<0>(attention(y, y, y))).mean(0));
  };
  const auto x = pictures().to(torch::kFloat);
  const auto run = [&](const care::TargetLayers& layers) {
    return care::capture([&] { return rest(patches(x)); }, layers);
  };
  CARE_REQUIRE_THROWS_AS(
      run({TargetLayer()}), c10::ValueError, "a patch embedding");
  // Who means it says so; behind a stem of convolutions it is a map.
  CHECK(run({TargetLayer().operation("aten::conv2d")}).features.is_same(map));
  const auto hybrid =
      care::capture([&] { return rest(patches(stem(x).relu())); });
  CHECK(hybrid.features.is_same(map));
  const auto on_frozen = care::capture([&] {
    Tensor before;
    {
      torch::NoGradGuard none;
      before = stem(x).relu();
    }
    return rest(patches(before));
  });
  CHECK(on_frozen.features.is_same(map));
}

TEST_CASE("capture: a map that was cropped or padded is warned of") {
  auto body = nn::Conv2d(nn::Conv2dOptions(3, 4, 3).padding(1));
  auto head = nn::Linear(4, kClasses);
  const auto x = pictures().to(torch::kFloat);
  const auto count = [&](const auto& change) {
    const care_test::Warnings warnings;
    care::capture([&] { return head(change(body(x)).mean({2, 3})); });
    return warnings.count("was cropped or padded");
  };
  CHECK(count([](const Tensor& f) { return f.slice(2, 1, -1); }) == 1);
  CHECK(count([](const Tensor& f) {
          return torch::constant_pad_nd(f, {1, 1, 1, 1});
        }) == 1);
  CHECK(count([](const Tensor& f) { return f.relu(); }) == 0);
}

TEST_CASE("capture: tokens by operator and number", "[layout]") {
  auto net = make_vit(1, class_token);
  const auto x = pictures();
  const auto norm_of = [&](int64_t count) {
    return care::capture(
        net, x, {tokens(1).operation("aten::layer_norm", count)});
  };
  CHECK(torch::equal(norm_of(-3).features, net->second->normed));
  CHECK(torch::equal(norm_of(1).features, net->first->normed));
  CARE_REQUIRE_THROWS_AS(
      norm_of(-1),
      c10::ValueError,
      "expected a spatial map [N, T, C] with T = prefix + h * w = 1 + 3 * 5 = "
      "16 that the TargetLayer asks for (operation aten::layer_norm, result "
      "-1) behind the logits, but there is none "
      "(of aten::layer_norm [2, 16, 8] the prefix alone reaches the logits)");
  CARE_REQUIRE_THROWS(norm_of(9), "but the forward has 5 of them");

  // Tokens are counted by themselves: the first convolution stays the first.
  const auto both = care::capture(
      net, x, {TargetLayer().operation("aten::conv2d", 1), tokens(1)});
  CHECK(both.features.sizes() == torch::IntArrayRef({2, kDim, 3, 5}));
  REQUIRE(both.more.size() == 1);
  CHECK(torch::equal(both.more[0], net->middle));
  CHECK_FALSE(both.layout(0).is_tokens());
  CHECK(both.layout(1).is_tokens());
}

TEST_CASE("capture: says which tokens it looked for", "[layout]") {
  auto net = make_vit(1, class_token);
  const auto x = pictures();
  CARE_REQUIRE_THROWS_AS(
      care::capture(net, x, {TargetLayer().tokens(1, {4, 5})}),
      c10::ValueError,
      "expected a spatial map [N, T, C] with T = prefix + h * w = 1 + 4 * 5 = "
      "21 behind the logits, but there is none. Seen with a gradient history:");
  CARE_REQUIRE_THROWS(
      care::capture(net, x, {TargetLayer().tokens(1, {4, 5})}),
      "aten::layer_norm [2, 16, 8]");
  // Without attention, the class token is made of itself.
  auto head = nn::Linear(kDim, kClasses);
  auto patches = nn::Conv2d(nn::Conv2dOptions(3, kDim, 4).stride(4));
  const auto own = torch::randn({2, 1, kDim}).requires_grad_();
  const auto apart = [&](const Tensor& images) {
    const auto cells = patches(images).flatten(2).transpose(1, 2);
    return head(torch::gelu(torch::cat({own, cells}, 1)).select(1, 0));
  };
  CARE_REQUIRE_THROWS_AS(
      care::capture(apart, x.to(torch::kFloat), {tokens(1)}),
      c10::ValueError,
      "the prefix alone reaches the logits");
  // By hand, the guide names what it wants too.
  const auto features = torch::rand({2, 17, kDim}).requires_grad_();
  const care::Guide<> guide(care::GuideOptions().target_layers({tokens(1)}));
  const auto seen =
      guide.watch(features, [&](const Tensor& t) { return head(t.mean(1)); });
  CARE_REQUIRE_THROWS_AS(
      guide.loss(torch::zeros({}), seen, targets(), boxes()),
      c10::ValueError,
      "care::Guide::loss: expected features of shape [N, T, C] with T = prefix "
      "+ h * w = 1 + 3 * 5 = 16, but got [2, 17, 8]");
}

TEST_CASE("guide: a vision transformer, as split by hand", "[layout]") {
  const auto x = pictures();
  for (const auto order :
       {care::GradientOrder::kFirst, care::GradientOrder::kFull}) {
    for (const int64_t prefix : {1, 4}) {
      const bool full = order == care::GradientOrder::kFull;
      CAPTURE(full, prefix);
      auto net = make_vit(prefix, class_token);
      const care::Guide<> guide(
          care::GuideOptions().weight(1.0).order(order).target_layers(
              {tokens(prefix)}));
      const auto seen = guide.watch(net, x);
      const auto loss = guide.loss(torch::zeros({}), seen, targets(), boxes());
      CHECK(loss.attention.guided == 2);
      CHECK(loss.attention.flat.item<int64_t>() == 0);
      const auto got = gradients_of(*net, loss.total);

      const auto logits = net->forward(x);
      const auto map = token_map(net->middle, prefix, logits, full);
      const auto expected = care::attention_loss(
          map, care::rasterize(boxes(), {kRows, kColumns}));
      CHECK(care_test::allclose(loss.total, expected, 1e-12, 1e-6));
      const auto wanted = gradients_of(*net, expected);
      REQUIRE(got.size() == wanted.size());
      for (size_t i = 0; i < got.size(); ++i) {
        CAPTURE(i);
        CHECK(care_test::allclose(got[i], wanted[i], 1e-10, 1e-7));
      }
      // It reaches the layers before; behind the map, in full order alone.
      net->zero_grad();
      guide.loss(torch::zeros({}), guide.watch(net, x), targets(), boxes())
          .backward();
      CHECK(size_of(net->patches->weight.grad()) > 1e-6);
      CHECK(size_of(net->place.grad()) > 1e-6);
      CHECK(size_of(net->first->wide->weight.grad()) > 1e-6);
      CHECK((size_of(net->second->qkv->weight.grad()) > 1e-6) == full);
      CHECK((size_of(net->head->weight.grad()) > 1e-6) == full);
    }
  }
}

TEST_CASE("guide: tokens in every call", "[layout]") {
  const auto x = pictures();
  auto net = make_vit(1, class_token);
  const care::Guide<> guide(
      care::GuideOptions().weight(1.0).target_layers({tokens(1)}));
  const auto seen = guide.watch(net, x);
  const auto one = care::Boxes::from_lists({{}, {{0, 4, 9, 12}}}, {12, 20});
  const auto lc = torch::nn::functional::cross_entropy(seen.logits, targets());

  // An image for itself, and the other kinds of map.
  const auto loss = guide.loss(lc, seen, targets(), one);
  CHECK(loss.attention.guided == 1);
  const auto map = token_map(seen.features, 1, seen.logits, false);
  const auto regions = care::rasterize(one, {kRows, kColumns});
  CHECK(care_test::allclose(
      loss.attention.loss, care::attention_loss(map, regions), 1e-12, 1e-6));
  const care::Guide<care::LayerCam> layer_cam(guide.options());
  const auto gradient =
      torch::autograd::grad({seen.logits[1][2]}, {seen.features}, {}, true)[0];
  const auto by_layer = (seen.features * gradient.clamp_min(0))
                            .slice(1, 1)
                            .sum(2)
                            .view({2, kRows, kColumns});
  CHECK(care_test::allclose(
      layer_cam.loss(lc, seen, targets(), one).attention.loss,
      care::attention_loss(by_layer, regions),
      1e-12,
      1e-6));

  const auto figures = guide.evaluate(seen, targets(), one);
  CHECK(
      figures.loss.item<double>() ==
      Approx(loss.attention.loss.item<double>()));
  const auto audit = guide.audit(lc, seen, targets(), one, net->parameters());
  CHECK(audit.attention_norm > 0);
  CHECK(audit.batch_coupling == 0);
  CHECK(audit.warnings().empty());
  care::Balance balance;
  const auto balanced = guide.loss(lc, seen, targets(), one, balance);
  CHECK(balance.weight().item<double>() > 0);
  CHECK(torch::isfinite(balanced.total).item<bool>());

  // Features and a head by hand; also where nothing is recorded.
  const auto head = [&](const Tensor& t) {
    return net->head(net->last(net->second->forward(t)).select(1, 0));
  };
  const auto by_hand = guide.watch(net->middle, head);
  CHECK(care_test::allclose(
      guide.loss(lc, by_hand, targets(), one).attention.loss,
      loss.attention.loss,
      1e-12,
      1e-9));
  {
    const torch::NoGradGuard no_grad;
    const auto validated = guide.watch(net->middle, head);
    CHECK(care_test::allclose(
        guide.evaluate(validated, targets(), one).loss,
        loss.attention.loss,
        1e-12,
        1e-9));
  }
  care::Seen plain{seen.logits, seen.features};
  plain.layouts = {MapLayout::tokens(1, {kRows, kColumns})};
  CHECK(care_test::allclose(
      care::Guide<>(care::GuideOptions().weight(1.0))
          .loss(lc, plain, targets(), one)
          .attention.loss,
      loss.attention.loss));

  // Beside a map [N, C, h, w], fused.
  const care::Guide<> two(care::GuideOptions().target_layers(
      {tokens(1), TargetLayer().operation("aten::conv2d", 1)}));
  const auto both = two.watch(net, x);
  const auto scores = care::class_scores(both.logits, targets());
  const auto fused = care::fuse(
      {token_map(both.features, 1, both.logits, false),
       care::grad_cam(both.more[0], scores)},
      care::Fusion::kMean);
  CHECK(care_test::allclose(
      two.loss(lc, both, targets(), one).attention.loss,
      care::attention_loss(fused, regions),
      1e-12,
      1e-6));
}

TEST_CASE("capture: tokens that were a map all along", "[layout]") {
  // [N, h, w, C] until it is pooled as tokens.
  torch::manual_seed(0);
  auto stem = nn::Conv2d(nn::Conv2dOptions(3, kDim, 4).stride(4));
  auto mix = nn::Linear(kDim, kDim);
  auto head = nn::Linear(kDim, kClasses);
  Tensor last;
  const auto net = [&](const Tensor& x) {
    last = torch::gelu(mix(stem(x).permute({0, 2, 3, 1}))).flatten(1, 2);
    return head(last.mean(1));
  };
  const auto x = pictures().to(torch::kFloat);
  const auto as_tokens = care::capture(net, x, {tokens(0)});
  CHECK(as_tokens.features.is_same(last));
  const auto as_map = care::capture(net, x, {TargetLayer().channels_last()});
  CHECK(as_map.features.sizes() == torch::IntArrayRef({2, 3, 5, kDim}));
  const auto map_of = [](const care::Seen& seen) {
    return care::class_attention_map(
        seen.features,
        care::class_scores(seen.logits, targets()),
        care::GradCam(),
        care::GradientOrder::kFirst,
        seen.layout());
  };
  CHECK(care_test::allclose(map_of(as_tokens), map_of(as_map), 1e-6, 1e-5));
}

TEST_CASE("capture: tokens hold nothing the network let go of", "[layout]") {
  // A residual block's branch is let go of when it has been added.
  torch::manual_seed(0);
  auto mix = nn::Linear(kDim, kDim), head = nn::Linear(kDim, kClasses);
  using Weak = c10::weak_intrusive_ptr<c10::StorageImpl>;
  std::vector<Weak> storages;
  size_t gone = 0;
  const auto start = torch::rand({2, kRows * kColumns, kDim}).requires_grad_();
  const auto forward = [&] {
    storages.clear();
    auto x = start;
    for (int i = 0; i < 4; ++i) {
      auto branch = mix(torch::gelu(x)) * 2;
      storages.push_back(branch.storage().getWeakStorageImpl());
      x = x + branch;
    }
    gone = 0;
    for (const auto& storage : storages) {
      gone += storage.expired() ? 1U : 0U;
    }
    return head(x.mean(1));
  };
  forward();
  REQUIRE(gone == 4);
  const auto seen = care::capture(forward, {tokens(0)});
  CHECK(gone >= 3); // the last one is let go of at the next map
  CHECK(seen.features.size(1) == kRows * kColumns);
}

// --------------------------------------------------------- [N, h, w, C] ---

namespace {

/// A ConvNeXt block's stream, pooled as it is or permuted back before that.
struct Stream : nn::Module {
  Stream() {
    register_module("stem", stem);
    register_module("depth", depth);
    register_module("ln", ln);
    register_module("wide", wide);
    register_module("narrow", narrow);
    register_module("head", head);
    to(torch::kDouble);
  }

  Tensor forward(const Tensor& x) {
    auto y = stem(x).permute({0, 2, 3, 1});
    const auto z = depth(y.permute({0, 3, 1, 2})).permute({0, 2, 3, 1});
    last = y + narrow(torch::gelu(wide(ln(z))));
    return back ? head(last.permute({0, 3, 1, 2}).mean({2, 3}))
                : head(last.mean({1, 2}));
  }

  bool back = false;
  nn::Conv2d stem{nn::Conv2dOptions(3, kDim, 4).stride(4)};
  nn::Conv2d depth{nn::Conv2dOptions(kDim, kDim, 3).padding(1).groups(kDim)};
  nn::LayerNorm ln = norm(kDim);
  nn::Linear wide{kDim, 2 * kDim}, narrow{2 * kDim, kDim};
  nn::Linear head{kDim, kClasses};
  Tensor last;
};

} // namespace

TEST_CASE("guide: a stream [N, h, w, C] as one permuted back", "[layout]") {
  auto net = std::make_shared<Stream>();
  const auto x = pictures();
  for (const auto order :
       {care::GradientOrder::kFirst, care::GradientOrder::kFull}) {
    const bool full = order == care::GradientOrder::kFull;
    CAPTURE(full);
    const auto options = care::GuideOptions().weight(1.0).order(order);
    const care::Guide<> first(options);
    const care::Guide<> last(care::GuideOptions(options).target_layers(
        {TargetLayer().channels_last()}));
    const auto run = [&](const care::Guide<>& guide, bool back) {
      net->back = back;
      const auto seen = guide.watch(net, x);
      return std::make_pair(
          seen, guide.loss(torch::zeros({}), seen, targets(), boxes()));
    };
    const auto [seen_first, loss_first] = run(first, true);
    const auto wanted = gradients_of(*net, loss_first.total);
    const auto [seen_last, loss_last] = run(last, false);
    CHECK(seen_last.features.is_same(net->last));
    CHECK(loss_last.attention.guided == 2);
    CHECK(care_test::allclose(loss_last.total, loss_first.total, 1e-12, 1e-9));
    const auto got = gradients_of(*net, loss_last.total);
    for (size_t i = 0; i < got.size(); ++i) {
      CAPTURE(i);
      CHECK(care_test::allclose(got[i], wanted[i], 1e-12, 1e-8));
    }
    CHECK(size_of(net->stem->weight.grad()) > 1e-6);
    CHECK((size_of(net->head->weight.grad()) > 1e-6) == full);
    // Where it is permuted back, the stream is the same map.
    const auto [seen_both, loss_both] = run(last, true);
    CHECK(torch::equal(seen_both.features, net->last));
    CHECK(care_test::allclose(loss_both.total, loss_first.total, 1e-12, 1e-9));
  }
}

TEST_CASE("capture: which map [N, h, w, C]", "[layout]") {
  auto net = std::make_shared<Stream>();
  const auto x = pictures();
  const auto nhwc = [] { return TargetLayer().channels_last(); };
  const auto sizes_of = [&](const TargetLayer& layer) {
    return care::capture(net, x, {layer}).features.sizes().vec();
  };
  using Sizes = std::vector<int64_t>;
  CHECK(sizes_of(nhwc().stride(4)) == Sizes{2, 3, 5, kDim});
  CHECK(sizes_of(nhwc().map_size({3, 5})) == Sizes{2, 3, 5, kDim});
  CHECK(sizes_of(nhwc().operation("aten::gelu")) == Sizes{2, 3, 5, 2 * kDim});
  CARE_REQUIRE_THROWS_AS(
      sizes_of(nhwc().map_size({5, kDim})),
      c10::ValueError,
      "expected a spatial map [N, h, w, C] that the TargetLayer asks for");

  // As it was: not taken unasked, and the error says what to ask for.
  CARE_REQUIRE_THROWS_AS(
      care::capture(net, x), c10::ValueError, "laid out [N, h, w, C]");
  CARE_REQUIRE_THROWS(
      care::capture(net, x),
      "choose by a TargetLayer (channels_last, tokens, operation)");

  // A network that keeps [N, C, h, w] has none.
  auto body = nn::Conv2d(3, kDim, 3);
  auto head = nn::Linear(kDim, kClasses);
  CARE_REQUIRE_THROWS_AS(
      care::capture(
          [&](const Tensor& images) {
            return head(torch::relu(body(images)).mean({2, 3}));
          },
          x.to(torch::kFloat),
          {nhwc()}),
      c10::ValueError,
      "expected a spatial map [N, h, w, C] behind the logits, but what comes "
      "last there may be tokens or another layout: aten::relu [2, 8, 10, 18], "
      "laid out [N, C, h, w]");

  // Windows, as in Swin: of a layout that cannot be told, the word counts.
  auto mix = nn::Linear(kDim, kDim);
  Tensor last;
  const auto seen = care::capture(
      [&](const Tensor& images) {
        const auto y = body(images).permute({0, 2, 3, 1}); // [2, 10, 18, 8]
        const auto windows = y.reshape({2, 5, 2, 9, 2, kDim})
                                 .permute({0, 1, 3, 2, 4, 5})
                                 .reshape({90, 4, kDim});
        const auto weight =
            torch::softmax(windows.bmm(windows.transpose(1, 2)), -1);
        last = y +
            mix(weight.bmm(windows))
                .view({2, 5, 9, 2, 2, kDim})
                .permute({0, 1, 3, 2, 4, 5})
                .reshape({2, 10, 18, kDim});
        return head(last.mean({1, 2}));
      },
      x.to(torch::kFloat),
      {nhwc()});
  CHECK(seen.features.is_same(last));
}
