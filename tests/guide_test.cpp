// Tests of care/guide.hpp: the total loss, who is guided, what moves.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/amp.hpp>
#include <care/guide.hpp>

#include <memory>
#include <sstream>

namespace F = torch::nn::functional;
using care::AttentionLossOptions;
using care::Boxes;
using care::Guide;
using care::GuideOptions;
using care::ScheduleOptions;
using care::Seen;

namespace {

torch::Tensor classes(std::vector<int64_t> list) {
  return torch::tensor(list, torch::kLong);
}

/// A small plain network: two convolutions, pooling, a linear head.
struct SmallNetImpl : torch::nn::Module {
  SmallNetImpl() {
    register_module("first", first);
    register_module("norm", norm);
    register_module("second", second);
    register_module("head", head);
  }
  torch::Tensor features(const torch::Tensor& images) {
    return second(norm(first(images)).relu()).relu();
  }
  torch::Tensor classify(const torch::Tensor& x) {
    return head(x.mean({2, 3}));
  }
  torch::Tensor forward(const torch::Tensor& images) {
    return classify(features(images));
  }

  torch::nn::Conv2d first{torch::nn::Conv2dOptions(3, 6, 3).padding(1)};
  torch::nn::BatchNorm2d norm{6};
  torch::nn::Conv2d second{torch::nn::Conv2dOptions(6, 8, 3).stride(2)};
  torch::nn::Linear head{8, 3};
};
TORCH_MODULE(SmallNet);

/// Four images; boxes on 0 (two of them), 1 and 3; the classes 0 1 2 1.
struct Setting {
  explicit Setting(uint64_t seed = 7) {
    torch::manual_seed(seed);
    net = SmallNet();
    images = torch::randn({4, 3, 16, 20});
  }
  Seen seen(const Guide<>& guide) {
    return guide.watch(net->features(images), [&](const torch::Tensor& x) {
      return net->classify(x);
    });
  }

  SmallNet net{nullptr};
  torch::Tensor images;
  torch::Tensor target = classes({0, 1, 2, 1});
  Boxes boxes = Boxes::from_lists(
      {{{2, 3, 8, 9}, {6, 6, 12, 14}}, {{1, 1, 5, 5}}, {}, {{10, 4, 20, 16}}},
      {16, 20});
};

/// The gradients of all parameters, by name.
std::map<std::string, torch::Tensor> gradients(const SmallNet& net) {
  std::map<std::string, torch::Tensor> result;
  for (const auto& item : net->named_parameters()) {
    result[item.key()] = item.value().grad();
  }
  return result;
}

/// A map policy that counts its calls.
struct CountingMap {
  std::shared_ptr<int> calls = std::make_shared<int>(0);

  torch::Tensor operator()(
      const torch::Tensor& features,
      const torch::Tensor& grads) const {
    ++*calls;
    return care::GradCam{}(features, grads);
  }
};

/// Identity that counts the backward passes through it.
struct CountBackward : torch::autograd::Function<CountBackward> {
  static int calls;

  static torch::Tensor forward(
      torch::autograd::AutogradContext* /*context*/,
      const torch::Tensor& x) {
    return x.clone();
  }
  static torch::autograd::variable_list backward(
      torch::autograd::AutogradContext* /*context*/,
      torch::autograd::variable_list grads) {
    ++calls;
    return {grads[0]};
  }
};
int CountBackward::calls = 0;

} // namespace

TEST_CASE("Guide: the convex and the additive form", "[guide]") {
  Setting s;
  auto lambda = AttentionLossOptions().lambda(0.7).tau(0.4);
  auto total = [&](const GuideOptions& options) {
    Guide guide(options, lambda);
    auto seen = s.seen(guide);
    auto lc = F::cross_entropy(seen.logits, s.target);
    auto got = guide.loss(lc, seen, s.target, s.boxes);

    // The same, from the components.
    auto maps = care::grad_cam(
        seen.features, care::class_scores(seen.logits, s.target));
    auto regions = care::rasterize(s.boxes, {maps.size(1), maps.size(2)});
    auto la = care::attention_loss(maps, regions, lambda);
    CHECK(got.attention.guided == 3);
    CHECK(
        got.attention.loss.item<double>() ==
        Approx(la.item<double>()).epsilon(1e-5));
    CHECK(got.classification.item<double>() == lc.item<double>());
    CHECK_FALSE(got.classification.requires_grad());
    CHECK_FALSE(got.attention.loss.requires_grad());
    return std::array<double, 3>{
        got.total.item<double>(), lc.item<double>(), la.item<double>()};
  };
  auto [convex, lc, la] = total(GuideOptions().alpha(0.3));
  CHECK(convex == Approx(0.7 * lc + 0.3 * la).epsilon(1e-5));
  auto [additive, lc2, la2] = total(GuideOptions().alpha(0.3).weight(2.5));
  CHECK(additive == Approx(lc2 + 2.5 * la2).epsilon(1e-5));
}

TEST_CASE("Guide: under autocast the attention is in float", "[guide]") {
  Setting s;
  s.net->eval(); // the same statistics for both
  struct Run {
    torch::Tensor logits, maps, total, gradient;
    care::AttentionFigures figures;
  };
  const auto run = [&](bool mixed, bool by_hand) {
    const Guide<> guide(GuideOptions().weight(1.0));
    s.net->zero_grad();
    const auto seen = [&] {
      const care::Autocast autocast(torch::kCPU, torch::kBFloat16, mixed);
      return by_hand ? s.seen(guide) : guide.watch(s.net, s.images);
    }();
    CHECK(
        seen.features.scalar_type() ==
        (mixed ? torch::kBFloat16 : torch::kFloat));
    const auto maps = care::grad_cam(
        seen.features, care::class_scores(seen.logits, s.target));
    const auto loss = guide.loss(
        F::cross_entropy(seen.logits.to(torch::kFloat), s.target),
        seen,
        s.target,
        s.boxes);
    loss.backward();
    return Run{
        seen.logits,
        maps,
        loss.total,
        s.net->first->weight.grad().clone(),
        loss.attention};
  };
  const auto exact = run(false, false);
  for (const bool by_hand : {false, true}) {
    CAPTURE(by_hand);
    const auto got = run(true, by_hand);
    CHECK(got.maps.scalar_type() == torch::kFloat);
    CHECK(got.total.scalar_type() == torch::kFloat);
    CHECK(got.figures.loss.scalar_type() == torch::kFloat);
    if (by_hand) {
      CHECK(got.logits.scalar_type() == torch::kFloat);
    }
    // bfloat16 has 8 bits: a product of three layers is right to 1 or 2 %.
    CHECK(care_test::allclose(got.logits, exact.logits, 1e-2, 2e-2));
    const auto range = exact.maps.abs().max().item<double>();
    CHECK(care_test::allclose(got.maps, exact.maps, 2e-2 * range, 0));
    CHECK(got.figures.guided == 3);
    CHECK(got.figures.flat.item<int64_t>() == 0);
    CHECK(
        got.figures.loss.item<double>() ==
        Approx(exact.figures.loss.item<double>()).margin(0.02));
    CHECK(torch::isfinite(got.gradient).all().item<bool>());
    CHECK(
        (got.gradient - exact.gradient).norm().item<double>() <
        0.15 * exact.gradient.norm().item<double>());
  }
}

TEST_CASE("Guide: maps of a large layer in half precision", "[guide]") {
  // A mean over 224 x 224 cells has a gradient of 2e-5: in half precision the
  // map would be called flat, or lose its digits.
  torch::manual_seed(0);
  const auto features = F::interpolate(
      torch::rand({2, 6, 8, 8}),
      F::InterpolateFuncOptions()
          .size(std::vector<int64_t>{224, 224})
          .mode(torch::kBilinear)
          .align_corners(false));
  torch::nn::Linear head(6, 3);
  const auto target = classes({0, 2});
  const auto boxes = Boxes::from_lists(
      {{{30, 30, 100, 100}}, {{50, 60, 200, 180}}}, {224, 224});
  const auto run = [&](torch::Dtype dtype, bool cast_first) {
    const auto x = features.detach().to(dtype).requires_grad_();
    const Guide<> guide(GuideOptions().weight(1.0));
    const auto seen = guide.watch(x, [&](const torch::Tensor& f) {
      return cast_first ? head->forward(f.to(torch::kFloat).mean({2, 3}))
                        : head->forward(f.mean({2, 3}).to(torch::kFloat));
    });
    const auto loss = guide.loss(torch::zeros({}), seen, target, boxes);
    loss.backward();
    CHECK(torch::isfinite(x.grad()).all().item<bool>());
    CHECK(x.grad().to(torch::kFloat).abs().max().item<double>() > 0);
    return loss.attention;
  };
  const auto exact = run(torch::kFloat, false);
  REQUIRE(exact.flat.item<int64_t>() == 0);
  for (const auto dtype : {torch::kHalf, torch::kBFloat16}) {
    for (const bool cast_first : {false, true}) {
      CAPTURE(dtype, cast_first);
      const auto got = run(dtype, cast_first);
      CHECK(got.flat.item<int64_t>() == 0);
      CHECK(got.loss.scalar_type() == torch::kFloat);
      CHECK(
          got.loss.item<double>() ==
          Approx(exact.loss.item<double>()).margin(5e-3));
      CHECK(
          got.inside_share.item<double>() ==
          Approx(exact.inside_share.item<double>()).margin(5e-3));
    }
  }
  // The closed form too.
  const auto exact_map = care::grad_cam_linear(features, head->weight, target);
  const auto half_map = care::grad_cam_linear(
      features.to(torch::kHalf), head->weight.to(torch::kHalf), target);
  CHECK(half_map.scalar_type() == torch::kFloat);
  const auto range = exact_map.abs().max().item<double>();
  CHECK(care_test::allclose(half_map, exact_map, 3e-3 * range, 0));
}

TEST_CASE("Guide: half precision behind another pooling", "[guide]") {
  // Not a mean alone, of which the graph tells: a gradient of 3e-7 for each
  // cell, of which half precision would hold but a digit.
  const auto features = torch::rand({2, 6, 64, 64}) +
      3 *
          care::pixel_mask(
              Boxes::from_lists(
                  {{{4, 4, 30, 40}}, {{20, 10, 60, 50}}}, {64, 64}))
              .unsqueeze(1) *
          torch::rand({2, 6, 1, 1});
  torch::nn::Linear head(12, 3);
  torch::NoGradGuard no_grad;
  head->weight.mul_(5e-3);
  const auto boxes =
      Boxes::from_lists({{{0, 0, 30, 40}}, {{20, 20, 64, 64}}}, {64, 64});
  const auto run = [&](torch::Dtype dtype) {
    torch::AutoGradMode record(true);
    const auto x = features.to(dtype).requires_grad_();
    const Guide<> guide;
    const auto seen = guide.watch(x, [&](const torch::Tensor& f) {
      const auto pooled = torch::cat({f.mean({2, 3}), f.amax({2, 3})}, 1);
      return head->forward(pooled.to(torch::kFloat));
    });
    return guide.evaluate(seen, classes({0, 2}), boxes);
  };
  const auto exact = run(torch::kFloat), half = run(torch::kHalf);
  REQUIRE(exact.flat.item<int64_t>() == 0);
  CHECK(half.flat.item<int64_t>() == 0);
  CHECK(
      half.loss.item<double>() ==
      Approx(exact.loss.item<double>()).margin(5e-3));
  CHECK(
      half.inside_share.item<double>() ==
      Approx(exact.inside_share.item<double>()).margin(5e-3));
}

TEST_CASE("Guide: a batch in which every image is guided", "[guide]") {
  Setting s;
  s.net->to(torch::kDouble);
  s.images = s.images.to(torch::kDouble);
  const auto boxes = Boxes::from_lists(
                         {{{2, 3, 8, 9}, {6, 6, 12, 14}},
                          {{1, 1, 5, 5}},
                          {{4, 2, 9, 12}},
                          {{10, 4, 20, 16}}},
                         {16, 20})
                         .to(torch::kDouble);
  for (const auto order :
       {care::GradientOrder::kFirst, care::GradientOrder::kFull}) {
    CAPTURE(static_cast<int>(order));
    Guide guide(
        GuideOptions().order(order), AttentionLossOptions().lambda(0.7));
    auto seen = s.seen(guide);
    auto lc = F::cross_entropy(seen.logits, s.target);
    auto got = guide.loss(lc, seen, s.target, boxes);
    CHECK(got.attention.guided == 4);

    // The same image by image: of each batch one image is guided.
    auto expected = torch::zeros({}, torch::kDouble);
    for (int64_t i = 0; i < 4; ++i) {
      auto one = boxes.filter(boxes.image_index() == i);
      auto la = guide.loss(lc.detach(), seen, s.target, one).total;
      expected = expected + (la - 0.5 * lc.detach()) / 4;
    }
    expected = expected + 0.5 * lc;
    CHECK(care_test::allclose(got.total, expected, 1e-12, 1e-9));
    auto parameters = s.net->parameters();
    auto a = torch::autograd::grad({got.total}, parameters, {}, true);
    auto b = torch::autograd::grad({expected}, parameters, {}, true);
    for (size_t i = 0; i < parameters.size(); ++i) {
      CAPTURE(i);
      CHECK(care_test::allclose(a[i], b[i], 1e-12, 1e-8));
    }
  }
}

TEST_CASE("Guide: which images are guided", "[guide]") {
  Setting s;
  CHECK(Guide<>().count(s.target, s.boxes) == 3);
  auto count = [&](std::vector<int64_t> list) {
    return Guide<>(GuideOptions().classes(std::move(list)))
        .count(s.target, s.boxes);
  };
  CHECK(count({1}) == 2);
  CHECK(count({0}) == 1);
  CHECK(count({2}) == 0); // has no box
  CHECK(count({0, 1, 2}) == 3);
  CHECK(count({}) == 0);
  CHECK(count({7}) == 0);
  CHECK(Guide<>().count(s.target, Boxes::none(4, {16, 20})) == 0);

  SECTION("labelled boxes guide their own class only") {
    // The boxes lie on the images 0 0 1 3, of the classes 0 0 1 1.
    auto labelled = s.boxes.with_labels(classes({0, 1, 0, -1}));
    CHECK(Guide<>().count(s.target, labelled) == 2);
    auto one = s.boxes.filter(torch::tensor({true, false, false, true}));
    Guide<> guide;
    auto seen = s.seen(guide);
    auto lc = F::cross_entropy(seen.logits, s.target);
    CHECK(
        guide.loss(lc, seen, s.target, labelled).total.item<double>() ==
        guide.loss(lc, seen, s.target, one).total.item<double>());
  }
  SECTION("a box of weight 0 guides nothing") {
    auto weighted = s.boxes.with_weights(torch::tensor({1.0, 0.5, 0.0, 0.25}));
    CHECK(Guide<>().count(s.target, weighted) == 2);
    Guide<> guide;
    auto seen = s.seen(guide);
    auto got = guide.loss(
        F::cross_entropy(seen.logits, s.target), seen, s.target, weighted);
    CHECK(got.attention.guided == 2);
  }
  SECTION("weights scale an image's loss") {
    Guide guide(GuideOptions().classes({1}).weight(1.0));
    auto seen = s.seen(guide);
    auto lc = torch::zeros({});
    auto at = [&](float a, float b) {
      return guide
          .loss(
              lc,
              seen,
              s.target,
              s.boxes.with_weights(torch::tensor({1.F, 1.F, a, b})))
          .total.item<double>();
    };
    CHECK(at(0.5, 0.5) == Approx(at(1, 1) / 2));
  }
}

TEST_CASE("Guide: the factor of Lc depends on nothing else", "[guide]") {
  Setting s;
  const auto off = ScheduleOptions().start(ScheduleOptions::kManual);
  for (const double alpha : {0.0, 0.25, 1.0}) {
    Guide on(GuideOptions().alpha(alpha));
    Guide off_guide(GuideOptions().alpha(alpha).schedule(off));
    Guide warm(
        GuideOptions().alpha(alpha).schedule(ScheduleOptions().warmup(3)));
    auto seen = s.seen(on);
    auto lc = torch::tensor(2.0).requires_grad_();
    for (const auto& boxes : {s.boxes, Boxes::none(4, {16, 20})}) {
      for (const auto* guide : {&on, &off_guide, &warm}) {
        auto got = guide->loss(lc, seen, s.target, boxes);
        CHECK(
            torch::autograd::grad({got.total}, {lc}, {}, true)[0]
                .item<float>() == Approx(1 - alpha));
        const double la = got.attention.guided > 0
            ? alpha * got.strength * got.attention.loss.item<double>()
            : 0;
        CHECK(
            got.total.item<double>() ==
            Approx((1 - alpha) * 2 + la).margin(1e-6));
      }
    }
    CHECK(off_guide.loss(lc, seen, s.target, s.boxes).attention.guided == 0);
    CHECK(warm.loss(lc, seen, s.target, s.boxes).strength == 0.25);
  }
}

TEST_CASE("Guide: no guided image costs no backward pass", "[guide]") {
  Setting s;
  CountingMap map;
  Guide<CountingMap> guide(GuideOptions().classes({0, 1}), {}, map);
  CountBackward::calls = 0;
  auto features = s.net->features(s.images);
  auto seen = guide.watch(features, [&](const torch::Tensor& x) {
    return CountBackward::apply(s.net->classify(x));
  });
  auto lc = F::cross_entropy(seen.logits, s.target);

  auto none = guide.loss(lc, seen, s.target, Boxes::none(4, {16, 20}));
  CHECK(none.attention.guided == 0);
  CHECK(none.attention.loss.item<double>() == 0);
  CHECK(none.attention.inner.item<double>() == 0);
  CHECK(none.attention.flat.item<int64_t>() == 0);
  guide.loss(lc, seen, classes({2, 2, 2, 2}), s.boxes);
  CHECK(CountBackward::calls == 0);
  CHECK(*map.calls == 0);
  guide.loss(lc, seen, s.target, s.boxes);
  CHECK(CountBackward::calls == 1);
  CHECK(*map.calls == 1);
}

TEST_CASE("Guide: weight 0 leaves the gradients of plain training", "[guide]") {
  auto plain = [] {
    Setting s;
    F::cross_entropy(s.net(s.images), s.target).backward();
    return gradients(s.net);
  }();
  auto check_same = [&](const GuideOptions& options) {
    Setting s;
    Guide guide(options);
    auto seen = s.seen(guide);
    guide.loss(F::cross_entropy(seen.logits, s.target), seen, s.target, s.boxes)
        .backward();
    auto got = gradients(s.net);
    REQUIRE(got.size() == plain.size());
    for (const auto& [name, gradient] : plain) {
      CAPTURE(name);
      CHECK(care_test::identical(got[name], gradient));
    }
  };
  check_same(GuideOptions().alpha(0));
  check_same(GuideOptions().weight(0.0));
  check_same(GuideOptions().weight(1.0).classes({}));
  check_same(GuideOptions().weight(1.0).schedule(
      ScheduleOptions().start(ScheduleOptions::kManual)));
}

TEST_CASE("Guide: the gradient is that of the total alone", "[guide]") {
  // The authors' code adds the score's gradient to every parameter; here each
  // parameter gets (1 - alpha) dLc + alpha dLa, and nothing before backward().
  Setting s;
  Guide guide(GuideOptions().alpha(0.5));
  auto seen = s.seen(guide);
  auto lc = F::cross_entropy(seen.logits, s.target);
  auto got = guide.loss(lc, seen, s.target, s.boxes);
  guide.evaluate(seen, s.target, s.boxes);
  for (const auto& parameter : s.net->parameters()) {
    CHECK_FALSE(parameter.grad().defined());
  }
  auto maps =
      care::grad_cam(seen.features, care::class_scores(seen.logits, s.target));
  auto la = care::attention_loss(
      maps, care::rasterize(s.boxes, {maps.size(1), maps.size(2)}));
  auto parameters = s.net->parameters();
  auto expected = torch::autograd::grad(
      {0.5 * lc + 0.5 * la}, parameters, {}, true, false, true);
  got.backward();
  for (size_t i = 0; i < parameters.size(); ++i) {
    CHECK(care_test::allclose(parameters[i].grad(), expected[i], 1e-6, 1e-4));
  }
}

TEST_CASE("Guide: what each order can move", "[guide]") {
  for (const auto order :
       {care::GradientOrder::kFirst, care::GradientOrder::kFull}) {
    Setting s;
    Guide guide(GuideOptions().alpha(1).order(order));
    auto seen = s.seen(guide);
    guide.loss(F::cross_entropy(seen.logits, s.target), seen, s.target, s.boxes)
        .backward();
    auto size = [](const torch::Tensor& gradient) {
      return gradient.defined() ? gradient.abs().max().item<double>() : 0.0;
    };
    const bool full = order == care::GradientOrder::kFull;
    CHECK(size(s.net->first->weight.grad()) > 0);
    CHECK(size(s.net->second->weight.grad()) > 0);
    CHECK((size(s.net->head->weight.grad()) > 0) == full);
    CHECK(size(s.net->head->bias.grad()) == 0);
  }
}

TEST_CASE("Guide: accumulation equals one big batch", "[guide]") {
  // Without batch normalisation: that one couples the images of a batch.
  auto run = [](bool micro) {
    Setting s;
    s.net->eval();
    Guide guide(GuideOptions().alpha(0.4));
    auto step = [&](const torch::Tensor& images,
                    const torch::Tensor& target,
                    const Boxes& boxes,
                    const care::Accumulation& accumulation) {
      auto seen = guide.watch(
          s.net->features(images),
          [&](const torch::Tensor& x) { return s.net->classify(x); });
      auto total = guide
                       .loss(
                           F::cross_entropy(seen.logits, target),
                           seen,
                           target,
                           boxes,
                           accumulation)
                       .total;
      (total / static_cast<double>(accumulation.steps)).backward();
    };
    if (!micro) {
      step(s.images, s.target, s.boxes, {});
    } else {
      // Three guided images, unevenly spread: 2 and 1.
      const care::Accumulation two{2, guide.count(s.target, s.boxes)};
      for (const auto& rows : {classes({0, 1}), classes({2, 3})}) {
        step(
            s.images.index_select(0, rows),
            s.target.index_select(0, rows),
            s.boxes.select(rows),
            two);
      }
    }
    return gradients(s.net);
  };
  auto big = run(false), small = run(true);
  for (const auto& [name, gradient] : big) {
    CAPTURE(name);
    CHECK(care_test::allclose(small[name], gradient, 1e-6, 1e-4));
  }
}

TEST_CASE("Guide: a network with several heads", "[guide]") {
  Setting s;
  torch::nn::Linear other(8, 5);
  Guide guide(GuideOptions().weight(1.0).classes({0, 1}));
  auto features = s.net->features(s.images);
  auto type = guide.watch(
      features, [&](const torch::Tensor& x) { return s.net->classify(x); });
  Seen grade{other(features.mean({2, 3})), features};
  auto grades = classes({4, 0, 1, 1});
  auto a = guide.loss(
      F::cross_entropy(type.logits, s.target), type, s.target, s.boxes);
  auto b = guide.loss(
      F::cross_entropy(grade.logits, grades), grade, grades, s.boxes);
  CHECK(a.attention.guided == 3);
  CHECK(b.attention.guided == 2);
  (a.total + b.total).backward();
  CHECK(other->weight.grad().defined());
  CHECK(s.net->head->weight.grad().defined());
  CHECK(torch::isfinite(s.net->first->weight.grad()).all().item<bool>());
}

TEST_CASE("Guide: figures", "[guide]") {
  Setting s;
  Guide guide(GuideOptions().alpha(0.5));
  auto seen = s.seen(guide);
  auto lc = F::cross_entropy(seen.logits, s.target);
  auto figures = guide.loss(lc, seen, s.target, s.boxes).attention;

  auto maps =
      care::grad_cam(seen.features, care::class_scores(seen.logits, s.target))
          .index_select(0, classes({0, 1, 3}));
  auto boxes = s.boxes.select(classes({0, 1, 3}));
  // Energy inside the boxes, at the image's resolution.
  auto up = F::interpolate(
                maps.relu().unsqueeze(1),
                F::InterpolateFuncOptions()
                    .size(std::vector<int64_t>{16, 20})
                    .mode(torch::kBilinear)
                    .align_corners(false))
                .squeeze(1);
  auto all = up.sum({1, 2});
  REQUIRE(all.gt(0).all().item<bool>());
  auto share =
      ((up * care::pixel_mask(boxes)).sum({1, 2}) / all).mean().item<double>();
  CHECK(figures.inside_share.item<double>() == Approx(share).epsilon(1e-4));
  auto terms = care::attention_terms(
      maps, care::rasterize(boxes, {maps.size(1), maps.size(2)}));
  CHECK(
      figures.inner.item<double>() ==
      Approx(terms.inner.mean().item<double>()));
  CHECK(
      figures.outer.item<double>() ==
      Approx(terms.outer.mean().item<double>()));
  CHECK(figures.flat.item<int64_t>() == 0);

  SECTION("the share inside is that of the boxes, however they are weighed") {
    Guide other(GuideOptions().raster(
        care::RasterizeOptions().start(0.25).delta(2).margin(3)));
    auto weighted = s.boxes.with_weights(torch::tensor({0.5, 0.25, 1.0, 0.1}));
    CHECK(
        other.evaluate(seen, s.target, weighted).inside_share.item<double>() ==
        Approx(share).epsilon(1e-4));
  }
  SECTION("evaluate says the same as loss") {
    auto evaluated = guide.evaluate(seen, s.target, s.boxes);
    CHECK(care_test::identical(evaluated.loss, figures.loss));
    CHECK(care_test::identical(evaluated.inside_share, figures.inside_share));
    CHECK(evaluated.guided == 3);
  }
  SECTION("evaluate works without gradients, and when the schedule is off") {
    Guide off(GuideOptions().schedule(
        ScheduleOptions().start(ScheduleOptions::kManual)));
    torch::NoGradGuard guard;
    auto blind = s.seen(off);
    CHECK_FALSE(s.net->features(s.images).requires_grad());
    auto evaluated = off.evaluate(blind, s.target, s.boxes);
    CHECK(evaluated.guided == 3);
    CHECK(
        evaluated.loss.item<double>() ==
        Approx(figures.loss.item<double>()).epsilon(1e-3));
    CHECK_FALSE(evaluated.loss.requires_grad());
    for (const auto& parameter : s.net->parameters()) {
      CHECK_FALSE(parameter.grad().defined());
    }
    auto nothing = off.evaluate(blind, s.target, Boxes::none(4, {16, 20}));
    CHECK(nothing.guided == 0);
    CHECK(nothing.loss.item<double>() == 0);
  }
  SECTION("a line for the log") {
    auto line = guide.loss(lc, seen, s.target, s.boxes).str();
    CHECK(line.find("guided 3, flat 0, saturated ") != std::string::npos);
    auto unguided = guide.loss(lc, seen, s.target, Boxes::none(4, {16, 20}));
    CHECK(unguided.str().find("La 0.0000") != std::string::npos);
  }
}

TEST_CASE("Guide: flat maps and an empty batch", "[guide]") {
  Guide guide(GuideOptions().weight(1.0));
  SECTION("a network that shows nothing") {
    auto features = torch::zeros({2, 3, 4, 4}).requires_grad_();
    torch::nn::Linear head(3, 2);
    auto seen = guide.watch(features, [&](const torch::Tensor& x) {
      return head(x.mean({2, 3}));
    });
    auto got = guide.loss(
        F::cross_entropy(seen.logits, classes({0, 1})),
        seen,
        classes({0, 1}),
        Boxes::from_lists({{{0, 0, 4, 4}}, {{1, 1, 9, 9}}}, {16, 16}));
    CHECK(got.attention.flat.item<int64_t>() == 2);
    CHECK(got.attention.loss.item<double>() == 0);
    CHECK(got.attention.inside_share.item<double>() == 0);
    got.backward();
    CHECK(torch::isfinite(features.grad()).all().item<bool>());
  }
  SECTION("an empty batch") {
    auto features = torch::zeros({0, 3, 4, 4}).requires_grad_();
    Seen seen{torch::zeros({0, 2}), features};
    auto got =
        guide.loss(torch::zeros({}), seen, classes({}), Boxes::none(0, {8, 8}));
    CHECK(got.total.item<double>() == 0);
    CHECK(got.attention.guided == 0);
  }
}

TEST_CASE("Guide: own map and own loss", "[guide]") {
  Setting s;
  auto first_channel = [](const torch::Tensor& features,
                          const torch::Tensor& /*gradients*/) {
    return features.select(1, 0);
  };
  auto outside = [](const torch::Tensor& maps,
                    const care::RegionWeights& regions) {
    return (maps * regions.outside).sum({1, 2});
  };
  care::Guide<decltype(first_channel), decltype(outside)> guide(
      GuideOptions().weight(1.0), outside, first_channel);
  auto seen = guide.watch(
      s.net->features(s.images),
      [&](const torch::Tensor& x) { return s.net->classify(x); });
  auto got = guide.loss(torch::zeros({}), seen, s.target, s.boxes);
  auto maps = seen.features.select(1, 0);
  auto regions = care::rasterize(s.boxes, {maps.size(1), maps.size(2)});
  CHECK(
      got.total.item<double>() ==
      Approx((maps * regions.outside).sum().item<double>() / 3).epsilon(1e-5));

  SECTION("a map of another size than the features") {
    auto finer = [](const torch::Tensor& features, const torch::Tensor& grads) {
      return care::GradCam{}(features, grads).repeat_interleave(2, 1);
    };
    care::Guide<decltype(finer)> other(GuideOptions(), {}, finer);
    CHECK(other.evaluate(seen, s.target, s.boxes).guided == 3);
  }
  SECTION("results of wrong shapes, and detached ones") {
    auto flat = [](const torch::Tensor& features, const torch::Tensor&) {
      return features.sum({1, 2, 3});
    };
    care::Guide<decltype(flat)> wrong_map(GuideOptions(), {}, flat);
    CARE_REQUIRE_THROWS_AS(
        wrong_map.evaluate(seen, s.target, s.boxes),
        c10::ValueError,
        "expected the map policy to return [3, h, w], but got [3]");
    auto mean = [](const torch::Tensor& each, const care::RegionWeights&) {
      return each.mean();
    };
    care::Guide<care::GradCam, decltype(mean)> wrong_loss(GuideOptions(), mean);
    CARE_REQUIRE_THROWS_AS(
        wrong_loss.evaluate(seen, s.target, s.boxes),
        c10::ValueError,
        "expected the loss policy's result of shape [3], but got []");
    auto blind = [](const torch::Tensor& features, const torch::Tensor& grads) {
      return care::GradCam{}(features, grads).detach();
    };
    care::Guide<decltype(blind)> detached(GuideOptions(), {}, blind);
    CARE_REQUIRE_THROWS_AS(
        detached.loss(torch::zeros({}), seen, s.target, s.boxes),
        c10::ValueError,
        "expected an attention loss with a gradient history");
    CHECK(detached.evaluate(seen, s.target, s.boxes).guided == 3);
  }
}

TEST_CASE("Guide: heads that begin in place", "[guide]") {
  auto body = torch::nn::Conv2d(torch::nn::Conv2dOptions(3, 6, 3));
  const auto images = torch::randn({3, 3, 12, 12});
  const auto target = classes({0, 1, 1});
  auto norm = torch::nn::BatchNorm2d(6);
  auto linear = torch::nn::Linear(6, 2);
  torch::nn::init::normal_(norm->running_mean);
  const auto head_of = [&](bool in_place) {
    return torch::nn::Sequential(
        torch::nn::LeakyReLU(
            torch::nn::LeakyReLUOptions().negative_slope(0.3).inplace(
                in_place)),
        torch::nn::BatchNorm2d(norm),
        torch::nn::AdaptiveAvgPool2d(1),
        torch::nn::Flatten(),
        torch::nn::Linear(linear));
  };
  const auto mean = norm->running_mean.clone();
  // Inner and outer share, and the gradient of the total.
  const auto figures =
      [&](const Guide<>& guide, const Boxes& boxes, bool in_place) {
        norm->running_mean.copy_(mean); // as before the last figures
        norm->running_var.fill_(1);
        body->zero_grad();
        auto head = head_of(in_place);
        const auto seen = guide.watch(body(images), head);
        const auto loss = guide.loss(
            F::cross_entropy(seen.logits, target), seen, target, boxes);
        loss.backward();
        return torch::cat(
            {loss.total.detach().view(1),
             loss.attention.inner.view(1),
             body->weight.grad().flatten()});
      };
  // Whether one image is guided or all are: to pick some copies them.
  const std::vector<Boxes> all{
      Boxes::from_lists({{}, {{2, 2, 9, 8}}, {}}, {12, 12}),
      Boxes::from_lists(
          {{{0, 0, 5, 6}}, {{2, 2, 9, 8}}, {{4, 1, 12, 9}}}, {12, 12})};
  const Guide<> frozen(GuideOptions().frozen_statistics(true));
  for (const auto& boxes : all) {
    CHECK(care_test::allclose(
        figures(frozen, boxes, true), figures(frozen, boxes, false)));

    // Where gradients are off the figures are those of a training step.
    const Guide<> guide;
    for (const bool in_place : {false, true}) {
      body->eval();
      norm->eval();
      auto head = head_of(in_place);
      const auto live = guide.watch(body(images), head);
      const auto inner = guide.evaluate(live, target, boxes).inner;
      const torch::NoGradGuard no_grad;
      const auto seen = guide.watch(body(images), head);
      CHECK(care_test::allclose(
          guide.evaluate(seen, target, boxes).inner, inner));
      norm->train();
    }
  }
}

TEST_CASE("Guide: the state of the schedule saves and loads", "[guide]") {
  const auto options = GuideOptions().schedule(
      ScheduleOptions().start(ScheduleOptions::kManual).warmup(1));
  Guide guide(options);
  guide.advance();
  guide.begin();
  guide.advance();
  std::stringstream stream;
  torch::save(guide, stream);
  Guide other(options);
  CHECK(other.schedule().strength() == 0);
  torch::load(other, stream);
  CHECK(other.schedule().now() == 2);
  CHECK(other.schedule().strength() == guide.schedule().strength());
  CHECK(other.schedule().strength() == 1);
  std::stringstream broken("not an archive");
  CHECK_THROWS_AS(torch::load(other, broken), c10::Error);
  CHECK(other.schedule().now() == 2); // as it was
  CHECK(other.schedule().strength() == 1);
}

TEST_CASE("Guide: a network trained with care is a plain network", "[guide]") {
  Setting s;
  Guide guide(GuideOptions().alpha(0.5).order(care::GradientOrder::kFull));
  torch::optim::SGD optimizer(
      s.net->parameters(), torch::optim::SGDOptions(0.05).momentum(0.9));
  double first = 0, last = 0;
  for (int step = 0; step < 20; ++step) {
    auto seen = s.seen(guide);
    auto got = guide.loss(
        F::cross_entropy(seen.logits, s.target), seen, s.target, s.boxes);
    optimizer.zero_grad();
    got.backward();
    optimizer.step();
    last = got.attention.loss.item<double>();
    first = step == 0 ? last : first;
  }
  CHECK(last < first);

  std::stringstream trained;
  torch::save(s.net, trained);
  SmallNet plain;
  torch::load(plain, trained);
  auto a = s.net->named_parameters(), b = plain->named_parameters();
  REQUIRE(a.keys() == SmallNet()->named_parameters().keys());
  REQUIRE(a.keys() == b.keys());
  for (const auto& item : a) {
    CHECK(care_test::identical(b[item.key()], item.value()));
  }
  CHECK(s.net->named_buffers().keys() == plain->named_buffers().keys());
  // Saved again by the plain network: the same bytes.
  std::stringstream again;
  torch::save(plain, again);
  CHECK(again.str() == trained.str());
  s.net->eval();
  plain->eval();
  CHECK(care_test::identical(plain(s.images), s.net(s.images)));
}

TEST_CASE("Guide: nothing is NaN over a short training", "[guide]") {
  Setting s(3);
  Guide guide(GuideOptions().alpha(0.9), AttentionLossOptions().tau(1));
  torch::optim::Adam optimizer(s.net->parameters(), 0.05);
  for (int step = 0; step < 30; ++step) {
    auto seen = s.seen(guide);
    auto got = guide.loss(
        F::cross_entropy(seen.logits, s.target), seen, s.target, s.boxes);
    optimizer.zero_grad();
    got.backward();
    optimizer.step();
    REQUIRE(torch::isfinite(got.total).item<bool>());
  }
  for (const auto& parameter : s.net->parameters()) {
    CHECK(torch::isfinite(parameter).all().item<bool>());
  }
}

TEST_CASE("Guide: features by hand, as the guide's layer keeps them") {
  Setting s;
  const auto head = [&](const torch::Tensor& nhwc) {
    return s.net->classify(nhwc.permute({0, 3, 1, 2}));
  };
  const auto nhwc = s.net->features(s.images).permute({0, 2, 3, 1});
  const Guide guide(
      GuideOptions().target_layers({care::TargetLayer().channels_last()}));
  const auto watched = guide.watch(nhwc, head);
  const Seen by_hand{head(nhwc), nhwc};
  const auto lc = F::cross_entropy(by_hand.logits, s.target);
  CHECK(care_test::identical(
      guide.loss(lc, by_hand, s.target, s.boxes).attention.loss,
      guide.loss(lc, watched, s.target, s.boxes).attention.loss));
  CHECK(care_test::identical(
      guide.evaluate(by_hand, s.target, s.boxes).inside_share,
      guide.evaluate(watched, s.target, s.boxes).inside_share));
  CHECK(
      guide.audit(lc, by_hand, s.target, s.boxes, s.net->parameters())
          .attention_norm ==
      guide.audit(lc, watched, s.target, s.boxes, s.net->parameters())
          .attention_norm);
}

TEST_CASE("Guide: bad input", "[guide]") {
  Setting s;
  Guide guide(GuideOptions().classes({1}));
  auto seen = s.seen(guide);
  auto lc = F::cross_entropy(seen.logits, s.target);

  CARE_REQUIRE_THROWS_AS(
      Guide(GuideOptions().alpha(1.5)),
      c10::ValueError,
      "care::Guide: expected alpha in [0, 1], but got 1.5");
  CARE_REQUIRE_THROWS_AS(
      Guide(GuideOptions().weight(-1.0)),
      c10::ValueError,
      "care::Guide: expected a weight of at least 0, but got -1");
  CARE_REQUIRE_THROWS_AS(
      Guide(GuideOptions().classes({0, -2})),
      c10::IndexError,
      "care::Guide: expected classes >= 0, but got -2");
  CARE_REQUIRE_THROWS_AS(
      Guide(GuideOptions(), care::CareLoss{AttentionLossOptions().tau(2)}),
      c10::ValueError,
      "care::Guide: expected");
  CARE_REQUIRE_THROWS_AS(
      Guide(GuideOptions(), AttentionLossOptions().tau(2)),
      c10::ValueError,
      "care::Guide: expected tau in (0, 1], but got 2");
  CARE_REQUIRE_THROWS_AS(
      Guide(GuideOptions().raster(care::RasterizeOptions().margin(-1))),
      c10::ValueError,
      "care::Guide: expected a margin of at least 0 pixels");
  CARE_REQUIRE_THROWS_AS(
      Guide(GuideOptions().classes({1, 3})).loss(lc, seen, s.target, s.boxes),
      c10::IndexError,
      "expected guided classes in [0, 3), but got 3");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, seen, classes({0, 1, 2, 5}), s.boxes),
      c10::IndexError,
      "care::Guide::loss: expected classes in [0, 3), but target[3] is 5");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc.view({1}), seen, s.target, s.boxes),
      c10::ValueError,
      "expected the classification loss as a scalar, but got [1]");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, seen, classes({1}), s.boxes),
      c10::ValueError,
      "expected target of shape [4], but got [1]");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, seen, s.target, Boxes::none(3, {16, 20})),
      c10::ValueError,
      "expected boxes of 4 images, but got those of 3");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, {seen.logits[0], seen.features}, s.target, s.boxes),
      c10::ValueError,
      "[4] of a binary head) beside 4 features, but got [3]");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, {seen.logits, seen.features.detach()}, s.target, s.boxes),
      c10::ValueError,
      "but the features have none");
  CARE_REQUIRE_THROWS_AS(
      guide.evaluate({seen.logits.detach(), seen.features}, s.target, s.boxes),
      c10::ValueError,
      "but the scores have none");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, {seen.logits, seen.features * 1}, s.target, s.boxes),
      c10::ValueError,
      "no path leads from the scores back to this tensor");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, {seen.logits, {}}, s.target, s.boxes),
      c10::ValueError,
      "watched while the attention loss was off");
  CARE_REQUIRE_THROWS_AS(
      guide.loss(lc, seen, s.target, s.boxes, {0, 1}),
      c10::ValueError,
      "expected accumulation steps > 0 and guided >= 0, but got 0 and 1");
  CARE_REQUIRE_THROWS_AS( // La would be more than a mean
      guide.loss(lc, seen, s.target, s.boxes, {2, 1}),
      c10::ValueError,
      "expected accumulation.guided to count this batch's guided images too");
  {
    // A forward pass without gradients, not by way of `watch`.
    torch::NoGradGuard guard;
    auto features = s.net->features(s.images);
    CARE_REQUIRE_THROWS_AS(
        guide.evaluate(
            {s.net->classify(features), features}, s.target, s.boxes),
        c10::ValueError,
        "detached, or computed under torch::NoGradGuard");
  }
}

TEST_CASE("classes_rarer_than: the rare classes of a count", "[guide]") {
  // ISIC 2018 task 3: MEL NV BCC AKIEC BKL DF VASC.
  const std::vector<int64_t> isic = {1113, 6705, 514, 327, 1099, 115, 142};
  using List = std::vector<int64_t>;
  CHECK(care::classes_rarer_than(0.015, isic) == List{5, 6});
  CHECK(care::classes_rarer_than(0.012, isic) == List{5});
  CHECK(care::classes_rarer_than(0.001, isic) == List{});
  CHECK(care::classes_rarer_than(0.5, {5, 5}) == List{}); // not less than
  CHECK(care::classes_rarer_than(1, {5, 5, 0}) == List{0, 1, 2});
  CHECK(care::classes_rarer_than(0.5, {}) == List{});
  CHECK(care::classes_rarer_than(0.5, {0, 0}) == List{});
  for (const double share : {0.0, -0.1, 1.1, static_cast<double>(NAN)}) {
    CARE_REQUIRE_THROWS_AS(
        care::classes_rarer_than(share, isic),
        c10::ValueError,
        "care::classes_rarer_than: expected a share in (0, 1], but got");
  }
  CARE_REQUIRE_THROWS_AS(
      care::classes_rarer_than(0.1, {3, -1}),
      c10::ValueError,
      "expected counts of at least 0, but got -1");
}
