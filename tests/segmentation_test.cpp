// Tests of care/segmentation.hpp: any model's masks as maps and boxes.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/segmentation.hpp>

#include <torch/script.h>

#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>

using care::MaskValues;
using care::SegmentationOptions;
using care::Size;

namespace {

/// Lesion where the image is dark: logit (0.5 - grey) * 40. It notes what it
/// was given, and in which mode.
struct DarkImpl : torch::nn::Module {
  torch::Tensor forward(const torch::Tensor& x) {
    seen = {x.size(2), x.size(3)};
    trained = is_training() || norm->is_training() || drop->is_training();
    gradient = torch::GradMode::is_enabled();
    if (broken) {
      throw std::runtime_error("no");
    }
    return (0.5 - x.mean(1, true)) * 40;
  }

  torch::nn::BatchNorm2d norm =
      register_module("norm", torch::nn::BatchNorm2d(3));
  torch::nn::Dropout drop = register_module("drop", torch::nn::Dropout());
  Size seen;
  bool trained = true;
  bool gradient = true;
  bool broken = false;
};
TORCH_MODULE(Dark);

/// [2, 3, 40, 60], white, with a dark box on each.
torch::Tensor images() {
  auto x = torch::ones({2, 3, 40, 60});
  x[0].slice(1, 10, 30).slice(2, 15, 45).fill_(0);
  x[1].slice(1, 4, 16).slice(2, 30, 54).fill_(0);
  return x;
}

torch::Tensor truth() {
  return torch::tensor({15.F, 10.F, 45.F, 30.F, 30.F, 4.F, 54.F, 16.F})
      .view({2, 4});
}

torch::Tensor boxes_of(const care::FoundBoxes& found) {
  return found.boxes.xyxy();
}

SegmentationOptions tight() {
  const SegmentationOptions defaults;
  return SegmentationOptions().finder(
      care::BoxFinderOptions(defaults.finder()).padding(1));
}

/// The same as `Dark`, as TorchScript.
torch::jit::Module dark_script(const std::string& returned = "y") {
  torch::jit::Module module("dark");
  module.register_attribute("training", c10::BoolType::get(), true);
  module.define(
      "def forward(self, x):\n"
      "    y = (0.5 - x.mean([1], True)) * 40\n"
      "    if self.training:\n"
      "        y = y * 0\n"
      "    return " +
      returned + "\n");
  return module;
}

} // namespace

TEST_CASE("segment: a callable, by hand", "[segmentation]") {
  const auto x = torch::rand({2, 3, 6, 8});
  const auto logits = torch::randn({2, 1, 6, 8});
  auto returns = [&](const torch::Tensor& value) {
    return [value](const torch::Tensor&) { return value; };
  };
  const auto maps = care::segment(x, returns(logits));
  CHECK(maps.sizes() == torch::IntArrayRef({2, 6, 8}));
  CHECK(care_test::allclose(maps, 1 / (1 + torch::exp(-logits.squeeze(1)))));
  // Without the channel, and in another dtype.
  CHECK(care_test::allclose(
      care::segment(x, returns(logits.squeeze(1).to(torch::kDouble))), maps));
  // Several channels: 1 - the background's share, or those that are asked for.
  const auto classes = torch::randn({2, 4, 6, 8});
  const auto e = torch::exp(classes);
  CHECK(care_test::allclose(
      care::segment(x, returns(classes)), 1 - e.select(1, 0) / e.sum(1)));
  CHECK(care_test::allclose(
      care::segment(
          x, returns(classes), SegmentationOptions().foreground({3, 1})),
      (e.select(1, 1) + e.select(1, 3)) / e.sum(1)));
  const auto share = torch::rand({2, 1, 6, 8});
  const auto probabilities =
      SegmentationOptions().values(MaskValues::kProbabilities);
  CHECK(care_test::allclose(
      care::segment(x, returns(share), probabilities), share.squeeze(1)));
  // Masks and labels.
  const auto labels = torch::randint(0, 3, {2, 6, 8}, torch::kLong);
  CHECK(care_test::allclose(
      care::segment(x, returns(labels > 0)), (labels > 0).to(torch::kFloat)));
  CHECK(care_test::allclose(
      care::segment(x, returns(labels)), (labels > 0).to(torch::kFloat)));
  CHECK(care_test::allclose(
      care::segment(x, returns(labels), SegmentationOptions().foreground({2})),
      (labels == 2).to(torch::kFloat)));
  // A channel named twice counts once, and a single one is channel 0.
  CHECK(care_test::allclose(
      care::segment(
          x, returns(classes), SegmentationOptions().foreground({1, 1})),
      e.select(1, 1) / e.sum(1)));
  CHECK(care_test::allclose(
      care::segment(x, returns(logits), SegmentationOptions().foreground({0})),
      maps));
  for (const auto& planes : {logits, logits.squeeze(1)}) {
    CARE_REQUIRE_THROWS_AS(
        care::segment(
            x, returns(planes), SegmentationOptions().foreground({1})),
        c10::IndexError,
        "care::segment: expected foreground channels in [0, 1), but got 1");
  }
  // Brought to the images' size: each cell of 3 x 4 becomes 2 x 2 pixels.
  const auto half = torch::zeros({2, 1, 3, 4});
  half[0][0][1][2] = 1;
  const auto grown = care::segment(x, returns(half), probabilities);
  CHECK(grown[0][2][4].item<double>() == Approx(0.75 * 0.75));
  CHECK(grown[0].sum().item<double>() == Approx(4));
  CHECK(grown[1].sum().item<double>() == 0);
  CHECK(
      care::segment(x.slice(0, 0, 0), returns(half)).sizes() ==
      torch::IntArrayRef({0, 6, 8}));
}

TEST_CASE("segmentation_boxes: every kind of model", "[segmentation]") {
  const auto x = images();
  Dark net;
  SECTION("a holder") {
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, net, tight())), truth()));
    const Dark constant = net;
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, constant, tight())), truth()));
  }
  SECTION("a shared_ptr") {
    const std::shared_ptr<DarkImpl> pointer = net.ptr();
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, pointer, tight())), truth()));
  }
  SECTION("a Sequential") {
    torch::nn::Sequential all(net);
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, all, tight())), truth()));
    CHECK(all->is_training());
  }
  SECTION("a lambda, and a function object that is const") {
    const auto call = [&](const torch::Tensor& y) { return net(y); };
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, call, tight())), truth()));
  }
  SECTION("a TorchScript file") {
    std::stringstream file;
    dark_script().save(file);
    auto script = torch::jit::load(file);
    script.train();
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, script, tight())), truth()));
    CHECK(script.is_training());
    const auto constant = script;
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, constant, tight())), truth()));
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(
            x, dark_script("{'aux': y * 0, 'out': y}"), tight())),
        truth()));
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, dark_script("(y, 3)"), tight())),
        truth()));
    // A frozen one has no mode.
    torch::jit::Module frozen("frozen");
    frozen.define(
        "def forward(self, x):\n    return (0.5 - x.mean([1])) * 40\n");
    CHECK(care_test::identical(
        boxes_of(care::segmentation_boxes(x, frozen, tight())), truth()));
    CARE_REQUIRE_THROWS_AS(
        care::segment(x, dark_script("'no'")),
        c10::TypeError,
        "care::segment: expected a TorchScript module that returns a tensor");
  }
  SECTION("confidence, and the default finder") {
    const auto found = care::segmentation_boxes(x, net);
    REQUIRE(found.boxes.num_boxes() == 2);
    CHECK(found.confidence.min().item<double>() > 0.99);
    CHECK(found.threshold[0].item<double>() == 0.5);
    // Nothing dark: no box, although the map's largest value is above 0.
    CHECK(
        care::segmentation_boxes(torch::ones_like(x), net).boxes.num_boxes() ==
        0);
  }
}

TEST_CASE("segment: the model's input is resized", "[segmentation]") {
  Dark net;
  const auto found = care::segmentation_boxes(
      images(), net, SegmentationOptions(tight()).input_size({20, 30}));
  CHECK(net->seen == Size{20, 30});
  CHECK(found.boxes.image_size() == Size{40, 60});
  CHECK(care_test::allclose(boxes_of(found), truth(), 1.0));
  care::segment(images(), net);
  CHECK(net->seen == Size{40, 60});

  // In half precision too, which the model gets.
  const auto in_half = care::segment(
      images().to(torch::kHalf),
      [](const torch::Tensor& x) {
        CHECK(x.scalar_type() == torch::kHalf);
        return (0.5 - x.to(torch::kFloat).mean(1, true)) * 40;
      },
      SegmentationOptions().input_size({20, 30}));
  CHECK(care_test::allclose(
      in_half,
      care::segment(images(), net, SegmentationOptions().input_size({20, 30})),
      1e-2,
      1e-2));
}

TEST_CASE("segment: a module in an AnyModule is one", "[segmentation]") {
  Dark model;
  torch::nn::AnyModule any(model);
  care::segment(images(), any);
  CHECK_FALSE(model->trained);
  CHECK(model->is_training());
}

TEST_CASE("segment: no gradient, each part in its own mode", "[segmentation]") {
  Dark net;
  net->norm->eval(); // frozen, the rest trains
  const auto maps = care::segment(images().requires_grad_(), net);
  CHECK_FALSE(net->trained);
  CHECK_FALSE(net->gradient);
  CHECK_FALSE(maps.requires_grad());
  CHECK(net->is_training());
  CHECK(net->drop->is_training());
  CHECK_FALSE(net->norm->is_training());
  CHECK(torch::GradMode::is_enabled());
  // Also after an exception.
  net->broken = true;
  net->drop->eval();
  CHECK(care_test::throws<std::runtime_error>(
      [&] { care::segment(images(), net); }, "no"));
  CHECK(net->is_training());
  CHECK_FALSE(net->drop->is_training());
  CHECK_FALSE(net->norm->is_training());
  CHECK(torch::GradMode::is_enabled());
  // One that evaluates stays so.
  net->broken = false;
  net->eval();
  care::segment(images(), net);
  CHECK_FALSE(net->is_training());
}

TEST_CASE("segment: bad input", "[segmentation]") {
  const auto x = images();
  auto returns = [&](const torch::Tensor& value) {
    return [value](const torch::Tensor&) { return value; };
  };
  CARE_REQUIRE_THROWS_AS(
      care::segment(x[0], returns(x)),
      c10::ValueError,
      "care::segment: expected images of shape [N, C, H, W], but got [3, 40, "
      "60]");
  CARE_REQUIRE_THROWS_AS(
      care::segment(x.to(torch::kByte), returns(x)),
      c10::TypeError,
      "care::segment: expected images to hold floating point numbers");
  CARE_REQUIRE_THROWS_AS(
      care::segment(x, returns(torch::rand({1, 1, 8, 8}))),
      c10::ValueError,
      "care::segment: expected a model that returns [2, K, h, w] or [2, h, w], "
      "but got [1, 1, 8, 8]");
  CARE_REQUIRE_THROWS_AS(
      care::segment(x, returns(torch::rand({2, 5}))),
      c10::ValueError,
      "but got [2, 5]");
  CARE_REQUIRE_THROWS_AS(
      care::segment(x, returns(torch::Tensor())),
      c10::ValueError,
      "but got an undefined tensor");
  auto broken = torch::zeros({2, 1, 8, 8});
  broken[1][0][2][2] = std::numeric_limits<float>::quiet_NaN();
  CARE_REQUIRE_THROWS_AS(
      care::segment(x, returns(broken)),
      c10::ValueError,
      "care::segment: expected probabilities in [0, 1], but probabilities[1] "
      "reaches from ");
  CARE_REQUIRE_THROWS_AS(
      care::segment(
          x,
          returns(torch::full({2, 8, 8}, 3.0)),
          SegmentationOptions().values(MaskValues::kProbabilities)),
      c10::ValueError,
      "but probabilities[0] reaches from 3 to 3");
  auto hidden = torch::full({2, 3, 8, 8}, 0.5);
  hidden[1].fill_(2); // the sum of the classes would be cut at 1
  hidden[1][1].fill_(-1); // and this sum is in [0, 1]
  for (const auto& lesion : {std::vector<int64_t>{}, {0, 1}}) {
    CARE_REQUIRE_THROWS_AS(
        care::segment(
            x,
            returns(hidden),
            SegmentationOptions()
                .values(MaskValues::kProbabilities)
                .foreground(lesion)),
        c10::ValueError,
        "but probabilities[1] reaches from -1 to 2");
  }
  CARE_REQUIRE_THROWS_AS(
      care::segment(
          x,
          returns(torch::rand({2, 3, 8, 8})),
          SegmentationOptions().foreground({3})),
      c10::IndexError,
      "care::segment: expected foreground channels in [0, 3), but got 3");
  CARE_REQUIRE_THROWS_AS(
      care::segment(x, returns(torch::zeros({2, 3, 8, 8}, torch::kLong))),
      c10::ValueError,
      "care::segment: expected one plane of labels for each image, but got [2, "
      "3, 8, 8]");
  CARE_REQUIRE_THROWS_AS(
      care::segment(x, returns(x), SegmentationOptions().input_size({0, 4})),
      c10::ValueError,
      "care::segment: expected an input_size of at least 1x1, or 0x0, but got "
      "0x4");
  Dark empty(nullptr);
  CARE_REQUIRE_THROWS_AS(
      care::segment(x, empty),
      c10::ValueError,
      "care::segment: expected a model, but got an empty one");
}
