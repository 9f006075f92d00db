// The library on a GPU: what it gives there, and that nothing waits for it.
//
// Every case says aloud that it skips where there is none.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/care.hpp>

#include <torch/cuda.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

// LibTorch's own check of synchronisation. Its header wants CUDA's.
#if __has_include(<cuda_runtime_api.h>) && \
    __has_include(<c10/cuda/impl/cuda_cmake_macros.h>)
#include <c10/cuda/CUDAFunctions.h>
#define CARE_TEST_SEES_WAITING 1
#else
#define CARE_TEST_SEES_WAITING 0
#endif

namespace gpu_test {

namespace nn = torch::nn;
namespace F = torch::nn::functional;
using care_test::Tensors;

bool no_gpu() {
  if (!torch::cuda::is_available()) {
    WARN("skipped: no GPU here");
    return true;
  }
  return false;
}

/// Two layers to look at, and dropout's and BatchNorm's absence: the same on
/// every device.
nn::Sequential make_net() {
  torch::manual_seed(5);
  return nn::Sequential(
      nn::Conv2d(nn::Conv2dOptions(3, 8, 3).padding(1)),
      nn::ReLU(),
      nn::Conv2d(nn::Conv2dOptions(8, 12, 3).stride(2).padding(1)),
      nn::ReLU(),
      nn::AdaptiveAvgPool2d(1),
      nn::Flatten(),
      nn::Linear(12, 3));
}

struct Batch {
  torch::Tensor images, target, masks;
  care::Boxes boxes = care::Boxes::from_lists(
      {{{0, 0, 7, 9}},
       {},
       {{4, 3, 9, 12}, {11, 2, 16, 8}},
       {},
       {{2, 8, 14, 15}}},
      {16, 16});

  Batch() {
    torch::manual_seed(1);
    images = torch::rand({5, 3, 16, 16}, torch::kDouble);
    target = torch::tensor({0, 1, 2, 1, 0}, torch::kLong);
    masks = care::pixel_mask(boxes);
  }
};

care::TargetLayers both_layers() {
  return {
      care::TargetLayer().operation("aten::conv2d", -2), care::TargetLayer()};
}

/// What a guide is told, by name.
std::map<std::string, care::GuideOptions> guides() {
  using Options = care::GuideOptions;
  return {
      {"first order", Options()},
      {"full order", Options().order(care::GradientOrder::kFull)},
      {"margin", Options().score(care::Score::kMargin)},
      {"rare classes", Options().classes({2})},
      {"two layers", Options().target_layers(both_layers())},
      {"product of two",
       Options().target_layers(both_layers()).fusion(care::Fusion::kProduct)}};
}

/// Total, figures, and all gradients of one guided step.
template <class Loss>
Tensors step(
    const care::GuideOptions& options,
    const Loss& criterion,
    const Batch& batch,
    const care::Regions& regions,
    torch::Device device) {
  auto net = make_net();
  net->to(device, torch::kDouble);
  const care::Guide<care::GradCam, Loss> guide(options, criterion);
  const auto seen = guide.watch(net, batch.images.to(device));
  const auto loss = guide.loss(
      F::cross_entropy(seen.logits, batch.target.to(device)),
      seen,
      batch.target,
      regions);
  loss.backward();
  Tensors result{loss.total, loss.attention.inside_share, loss.attention.inner};
  for (const auto& parameter : net->parameters()) {
    result.push_back(parameter.grad());
  }
  return result;
}

/// A watched forward under autocast to `dtype`; in float without it.
care::Seen watch_in(
    torch::Dtype dtype,
    const care::Guide<>& guide,
    const nn::Sequential& net,
    const torch::Tensor& images) {
  const bool mixed = dtype != torch::kFloat;
  const care::Autocast autocast(
      images.device(), mixed ? dtype : torch::kBFloat16, mixed);
  return guide.watch(net, images);
}

/// Whether a function of a device gives there what it gives on the host.
void check_alike(
    const std::function<Tensors(torch::Device)>& of,
    double tolerance = 1e-9) {
  const auto here = of(torch::kCPU), there = of(torch::kCUDA);
  REQUIRE(here.size() == there.size());
  for (size_t i = 0; i < here.size(); ++i) {
    CAPTURE(i);
    CHECK(care_test::allclose(there[i], here[i], tolerance, tolerance));
  }
}

/// LibTorch's deterministic algorithms, and an error where there is none.
class Deterministic {
 public:
  explicit Deterministic(bool on) {
    at::globalContext().setDeterministicAlgorithms(on, /*warn_only=*/false);
  }
  ~Deterministic() {
    at::globalContext().setDeterministicAlgorithms(false, false);
  }
  Deterministic(const Deterministic&) = delete;
  Deterministic& operator=(const Deterministic&) = delete;
};

template <class Loss>
void check_guides(const std::string& name, const Loss& criterion) {
  const Batch batch;
  for (const auto& item : guides()) {
    CAPTURE(name, item.first);
    check_alike([&](torch::Device device) {
      return step(item.second, criterion, batch, batch.boxes, device);
    });
    check_alike([&](torch::Device device) {
      return step(item.second, criterion, batch, batch.masks, device);
    });
  }
}

} // namespace gpu_test

TEST_CASE("gpu: guided steps give what they give on the host", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
  const Deterministic algorithms(GENERATE(false, true));
  check_guides("CareLoss", care::CareLoss());
  check_guides("EnergyLoss", care::EnergyLoss());
  check_guides("GainLoss", care::GainLoss());
  check_guides("HintLoss", care::HintLoss());
  check_guides("L1GuidanceLoss", care::L1GuidanceLoss());
  check_guides("PpceLoss", care::PpceLoss());
  check_guides("RrrLoss", care::RrrLoss());
}

TEST_CASE("gpu: regions and targets that lie there", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
  const Deterministic algorithms(GENERATE(false, true));
  const Batch batch;
  const auto on_host = step(
      care::GuideOptions(), care::CareLoss(), batch, batch.boxes, torch::kCUDA);
  auto moved = batch;
  moved.target = batch.target.to(torch::kCUDA);
  for (const auto& regions : std::vector<care::Regions>{
           batch.boxes.to(torch::kCUDA),
           batch.masks.to(torch::kCUDA),
           care::rasterize(batch.boxes.to(torch::kCUDA), {8, 8})}) {
    const auto there = step(
        care::GuideOptions(), care::CareLoss(), moved, regions, torch::kCUDA);
    for (size_t i = 0; i < there.size(); ++i) {
      CAPTURE(regions.form().index(), i);
      CHECK(care_test::allclose(there[i], on_host[i], 1e-6, 1e-6));
    }
  }
  // Boxes and masks of a device, and their gradient.
  for (const auto mode :
       {care::RasterMode::kCoverage, care::RasterMode::kAdjoint}) {
    for (const double delta : {0.0, 2.0}) {
      const auto options =
          care::RasterizeOptions().mode(mode).delta(delta).margin(1);
      CAPTURE(static_cast<int>(mode), delta);
      check_alike(
          [&](torch::Device device) {
            auto xyxy = batch.boxes.xyxy().to(device, torch::kDouble);
            const bool moves = mode == care::RasterMode::kCoverage;
            xyxy.requires_grad_(moves);
            const care::Boxes boxes(
                xyxy, batch.boxes.image_index().to(device), 5, {16, 16});
            const auto cells = care::rasterize(boxes, {5, 6}, options);
            if (moves) {
              (cells.inside.square().sum() + cells.outside.square().sum())
                  .backward();
            }
            return Tensors{
                cells.inside,
                cells.outside,
                moves ? xyxy.grad() : torch::zeros({})};
          },
          1e-5);
    }
  }
}

TEST_CASE("gpu: a box off its image counts for nothing", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
  const auto on = care::Boxes::from_lists({{{2, 3, 9, 8}}, {}}, {16, 16});
  const care::Boxes with_others(
      torch::tensor({{2, 3, 9, 8}, {-5, 0, -1, 10}, {20, 0, 30, 9}}),
      torch::tensor({0, 0, 1}, torch::kLong),
      2,
      {16, 16});
  const auto options = care::RasterizeOptions().margin(4);
  const auto got =
      care::rasterize(with_others.to(torch::kCUDA), {8, 8}, options);
  const auto expected = care::rasterize(on.to(torch::kCUDA), {8, 8}, options);
  CHECK(care_test::allclose(got.inside, expected.inside, 1e-6));
  CHECK(care_test::allclose(got.outside, expected.outside, 1e-6));
  const auto target = torch::zeros({2}, torch::kLong);
  CHECK(care::Guide<>().count(target, with_others.to(torch::kCUDA)) == 1);
}

TEST_CASE("gpu: a guided step does not wait for the device", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
#if CARE_TEST_SEES_WAITING
  const Batch batch;
  const torch::Device device(torch::kCUDA);
  const auto images = batch.images.to(device, torch::kFloat);
  const auto target = batch.target.to(device);
  const auto dtype = GENERATE(torch::kFloat, torch::kBFloat16, torch::kHalf);
  for (const auto& item : guides()) {
    for (const bool masks : {false, true}) {
      CAPTURE(item.first, masks, dtype);
      auto net = make_net();
      net->to(device);
      torch::optim::SGD optimizer(net->parameters(), 0.01);
      const care::Guide guide(item.second);
      care::Balance balance;
      const auto regions =
          masks ? care::Regions(batch.masks) : care::Regions(batch.boxes);
      const auto train = [&](bool balanced) {
        const auto seen = watch_in(dtype, guide, net, images);
        const auto classification = F::cross_entropy(seen.logits, target);
        const auto loss = balanced
            ? guide.loss(classification, seen, batch.target, regions, balance)
            : guide.loss(classification, seen, batch.target, regions);
        guide.evaluate(seen, batch.target, regions);
        optimizer.zero_grad();
        loss.backward();
        optimizer.step();
      };
      train(true); // the first one loads kernels
      auto& check = c10::cuda::warning_state();
      check.set_sync_debug_mode(c10::cuda::SyncDebugMode::L_ERROR);
      std::string error;
      try {
        train(false);
        train(true);
      } catch (const std::exception& e) {
        error = e.what();
      }
      bool seen = false;
      try { // the check checks
        target.sum().item<int64_t>();
      } catch (const c10::Error&) {
        seen = true;
      }
      check.set_sync_debug_mode(c10::cuda::SyncDebugMode::L_DISABLED);
      CAPTURE(error);
      CHECK(error.empty());
      CHECK(seen);
    }
  }
#else
  WARN("skipped: built without CUDA's headers");
#endif
}

TEST_CASE("gpu: half with the loss scaler learns", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
  const torch::Device device(torch::kCUDA);
  const auto dtype = GENERATE(torch::kHalf, torch::kBFloat16, torch::kFloat);
  CAPTURE(dtype);
  const Batch batch;
  auto images = batch.images.to(device, torch::kFloat);
  auto net = make_net();
  net->to(device);
  torch::optim::Adam optimizer(net->parameters(), 0.01);
  // The first steps overflow: they must be left out, and the scale fall.
  care::GradScaler scaler(care::GradScalerOptions().init_scale(1e12));
  const care::Guide guide(care::GuideOptions().weight(1.0));
  double first = 0, last = 0;
  int64_t taken = 0;
  for (int i = 0; i < 300; ++i) {
    const auto seen = watch_in(dtype, guide, net, images);
    REQUIRE(seen.features.scalar_type() == dtype);
    const auto loss = guide.loss(
        F::cross_entropy(
            seen.logits.to(torch::kFloat), batch.target.to(device)),
        seen,
        batch.target,
        batch.boxes);
    CHECK(loss.attention.loss.scalar_type() == torch::kFloat);
    optimizer.zero_grad();
    scaler.scale(loss.total).backward();
    taken += scaler.step(optimizer) ? 1 : 0;
    last = loss.total.item<double>();
    first = i == 0 ? last : first;
  }
  CHECK(last < 0.7 * first);
  CHECK(taken > 200);
  if (dtype == torch::kHalf) {
    CHECK(taken < 300);
    CHECK(scaler.scale() < 1e9);
  } else {
    CHECK(taken == 300);
  }
  for (const auto& parameter : net->parameters()) {
    CHECK(parameter.isfinite().all().item<bool>());
  }
}

TEST_CASE("gpu: augmentation", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
  const Deterministic algorithms(GENERATE(false, true));
  const Batch batch;
  const auto index = torch::arange(5, torch::kLong);
  const auto images = batch.images.to(torch::kFloat);
  for (const auto source :
       {care::Outside::kKeep,
        care::Outside::kOtherClass,
        care::Outside::kColour,
        care::Outside::kBlur}) {
    for (const std::string preset : {"none", "flips", "strong"}) {
      CAPTURE(static_cast<int>(source), preset);
      const auto options = care::AugmentOptions::preset(preset).seed(3).outside(
          care::OutsideOptions().source(source).share(1.0));
      check_alike(
          [&](torch::Device device) {
            const auto made = care::augment(
                images.to(device),
                batch.boxes,
                batch.target,
                index,
                /*epoch=*/2,
                options,
                batch.masks.to(device));
            return Tensors{made.images, made.boxes.xyxy(), made.masks};
          },
          2e-4);
    }
  }
}

TEST_CASE("gpu: losses of imbalanced classes", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
  const Deterministic algorithms(GENERATE(false, true));
  const std::vector<int64_t> counts{90, 9, 3};
  torch::manual_seed(2);
  const auto values = torch::randn({6, 3}, torch::kDouble);
  const auto target = torch::tensor({0, 1, 2, 2, 1, 0}, torch::kLong);
  using Criterion =
      std::function<torch::Tensor(const torch::Tensor&, const torch::Tensor&)>;
  const std::map<std::string, Criterion> criteria{
      {"focal",
       [](auto x, auto y) {
         return care::focal_loss(x, y, care::FocalLossOptions().gamma(2));
       }},
      {"ldam",
       [&](auto x, auto y) { return care::ldam_loss(x.tanh(), y, counts); }},
      {"logit adjusted",
       [&](auto x, auto y) { return care::logit_adjusted_loss(x, y, counts); }},
      {"smoothed", [](auto x, auto y) {
         return care::smoothed_cross_entropy(x, y, {0.1, 0.05, 0.0});
       }}};
  for (const auto& item : criteria) {
    CAPTURE(item.first);
    check_alike([&](torch::Device device) {
      auto logits = values.clone().to(device).requires_grad_();
      auto loss = item.second(logits, target.to(device));
      loss.backward();
      return Tensors{loss, logits.grad()};
    });
  }
}

TEST_CASE("gpu: metrics, boxes of maps, and the audit", "[gpu]") {
  using namespace gpu_test;
  if (no_gpu()) {
    return;
  }
  const Deterministic algorithms(GENERATE(false, true));
  const Batch batch;
  torch::manual_seed(4);
  const auto maps = torch::rand({5, 8, 8});
  const auto scores = torch::rand({5, 3}).softmax(1);
  check_alike(
      [&](torch::Device device) {
        const auto m = maps.to(device), where = batch.masks.to(device);
        const auto s = scores.to(device), t = batch.target.to(device);
        care::ConfusionMatrix matrix(3);
        matrix.update(t, s.argmax(1));
        const auto epg = care::energy_pointing_game(m, where);
        return Tensors{
            epg,
            care::chance_adjusted_energy(m, where),
            care::inside_outside_ratio(m, where),
            care::pointing_game(m, where),
            care::best_iou(m, where),
            care::iou_at(m, where, 0.5),
            care::means_by_group(epg, t, 3).mean,
            care::groups_by_size(where, {0.05, 0.2}),
            care::one_vs_rest_auc(s, t),
            care::one_vs_rest_average_precision(s, t),
            matrix.counts(),
            care::boxes_from_masks(where > 0.5).xyxy(),
            care::find_boxes(m).boxes.xyxy(),
            care::spectral_residual(batch.images.to(device, torch::kFloat))};
      },
      1e-5);
  check_alike([&](torch::Device device) {
    auto net = make_net();
    net->to(device, torch::kDouble);
    const care::Guide guide;
    const auto seen = guide.watch(net, batch.images.to(device));
    const auto audit = guide.audit(
        F::cross_entropy(seen.logits, batch.target.to(device)),
        seen,
        batch.target,
        batch.boxes,
        net->parameters());
    REQUIRE(audit.attention_norm > 0);
    return Tensors{care_test::doubles(
        {audit.attention_norm, audit.classification_norm, audit.cosine})};
  });
}
