// Tests of care/attention: the maps of three Python libraries.
// SPDX-License-Identifier: Apache-2.0
#include "support/support.hpp"

#include <care/attention.hpp>

#include <map>
#include <string>

namespace F = torch::nn::functional;

namespace {

std::map<std::string, torch::Tensor> golden_cam(const std::string& name) {
  return care_test::load_dictionary(
      care_test::data_dir() / "golden_cam" / (name + ".pt"));
}

/// The stored network run again: features at the three places, and scores.
struct Run {
  torch::Tensor shallow, signed_, deep, logits, scores;

  const torch::Tensor& at(const std::string& place) const {
    return place == "shallow" ? shallow : place == "signed" ? signed_ : deep;
  }
};

Run run_network() {
  auto stored = golden_cam("network");
  Run run;
  run.shallow = stored["shallow"].clone().requires_grad_();
  run.signed_ = torch::conv2d(
      run.shallow,
      stored["signed.weight"],
      stored["signed.bias"],
      /*stride=*/2,
      /*padding=*/1);
  run.deep = run.signed_.relu();
  auto last =
      torch::conv2d(run.deep, stored["conv3.weight"], stored["conv3.bias"])
          .relu();
  run.logits =
      F::linear(last.flatten(1), stored["head.weight"], stored["head.bias"]);
  run.scores = care::class_scores(run.logits, stored["target"]);
  REQUIRE(care_test::allclose(run.logits, stored["logits"], 1e-12, 1e-12));
  return run;
}

/// Within `share` of the largest value of the peer's maps.
care_test::Outcome close(
    const torch::Tensor& actual,
    const torch::Tensor& expected,
    double share) {
  return care_test::allclose(
      actual, expected, share * expected.abs().max().item<double>(), 0);
}

constexpr double kSame = 1e-12; // the same formula
constexpr double kEpsilon = 1e-5; // the peer adds an epsilon to a denominator

} // namespace

TEST_CASE("golden maps: pytorch-grad-cam", "[attention][golden]") {
  const std::string place = GENERATE("shallow", "signed", "deep");
  CAPTURE(place);
  const auto run = run_network();
  auto golden = golden_cam(place);
  auto check = [&](const char* name, const auto& map, double share) {
    CAPTURE(name);
    CHECK(close(
        care::class_attention_map(run.at(place), run.scores, map),
        golden[std::string("pytorch_grad_cam.") + name],
        share));
  };
  check("grad_cam", care::GradCam(), kSame);
  check("hires_cam", care::HiResCam(), kSame);
  check("layer_cam", care::LayerCam(), kSame);
  check("element_wise", care::ElementWiseCam(), kSame);
  check("xgrad_cam", care::XGradCam(), kEpsilon);
  if (place != "signed") {
    check("grad_cam_plus_plus", care::GradCamPlusPlus(), kEpsilon);
    return;
  }
  // Where a channel's sum is negative theirs divides by a denominator that may
  // come near 0; ours takes the sum as 0. Without that, theirs comes out.
  const auto& peer = golden["pytorch_grad_cam.grad_cam_plus_plus"];
  const auto& features = run.signed_;
  CHECK_FALSE(close(
      care::class_attention_map(features, run.scores, care::GradCamPlusPlus()),
      peer,
      0.1));
  auto g = care::score_gradients(features, run.scores).relu();
  auto sum = features.sum({2, 3}, true);
  CHECK((sum < 0).any().item<bool>());
  auto weights = torch::where(g > 0, g / (2 + sum * g), g).sum({2, 3}, true);
  CHECK(close((weights * features).sum(1), peer, 1e-3));
}

TEST_CASE("golden maps: TorchCAM", "[attention][golden]") {
  const std::string place = GENERATE("shallow", "signed", "deep");
  CAPTURE(place);
  const auto run = run_network();
  auto golden = golden_cam(place);
  auto check = [&](const char* name, const auto& map, double share) {
    CAPTURE(name);
    CHECK(close(
        care::class_attention_map(run.at(place), run.scores, map),
        golden[std::string("torchcam.") + name],
        share));
  };
  check("grad_cam", care::GradCam{true}, kSame);
  check("layer_cam", care::LayerCam{true}, kSame);
  check("xgrad_cam", care::XGradCam{true}, kEpsilon);

  // Release 0.5.0 divides a copy, so that its alpha is g^2: not Grad-CAM++.
  const auto& peer = golden["torchcam.grad_cam_plus_plus"];
  const auto& features = run.at(place);
  auto g = care::score_gradients(features, run.scores).relu();
  auto weights = g.pow(3).sum({2, 3}, true);
  CHECK(close((weights * features).sum(1).relu(), peer, kSame));
  CHECK_FALSE(close(
      care::class_attention_map(
          features, run.scores, care::GradCamPlusPlus{true}),
      peer,
      0.1));
}

TEST_CASE("golden maps: Captum", "[attention][golden]") {
  const std::string place = GENERATE("shallow", "signed", "deep");
  CAPTURE(place);
  const auto run = run_network();
  auto golden = golden_cam(place);
  CHECK(close(
      care::grad_cam(run.at(place), run.scores),
      golden["captum.grad_cam"],
      kSame));
  CHECK(close(
      care::class_attention_map(run.at(place), run.scores, care::HiResCam()),
      golden["captum.gradient_x_activation"],
      kSame));
}

TEST_CASE("golden maps: fused and scaled ones", "[attention][golden]") {
  using care::Fusion;
  const auto run = run_network();
  auto golden = golden_cam("fused");
  auto size = golden_cam("network")["image_size"];
  const care::Size image{size[0].item<int64_t>(), size[1].item<int64_t>()};
  auto cut = care::AttentionOptions().relu(true);
  auto shallow = care::grad_cam(run.shallow, run.scores, cut);
  auto deep = care::grad_cam(run.deep, run.scores, cut);

  // pytorch-grad-cam scales once more at the end; its images are float.
  CHECK(care_test::allclose(
      care::normalise(care::fuse({deep}, Fusion::kMean, image)).maps,
      golden["pytorch_grad_cam.deep"],
      1e-5,
      0));
  auto mean = care::fuse({shallow, deep}, Fusion::kMean, image);
  CHECK(care_test::allclose(
      care::normalise(mean).maps, golden["pytorch_grad_cam.mean"], 1e-5, 0));
  CHECK_FALSE(care_test::allclose(mean, golden["pytorch_grad_cam.mean"], 1e-3));

  // TorchCAM: the largest of the normalised maps.
  CHECK(care_test::allclose(
      care::fuse({shallow, deep}, Fusion::kMax),
      golden["torchcam.fuse_cams.grad_cam"],
      1e-5,
      0));
  // Its LayerCAM lifts them by tanh first, which is left to the user here.
  auto layer = [&](const torch::Tensor& features) {
    return care::class_attention_map(
        features, run.scores, care::LayerCam{true});
  };
  const auto& lifted = golden["torchcam.fuse_cams.layer_cam"];
  CHECK_FALSE(care_test::allclose(
      care::fuse({layer(run.shallow), layer(run.deep)}, Fusion::kMax),
      lifted,
      1e-2));
  auto lift = [&](const torch::Tensor& features) {
    auto map = (2 * care::normalise(layer(features)).maps).tanh();
    return torch::upsample_bilinear2d(map.unsqueeze(1), {12, 10}, false);
  };
  CHECK(care_test::allclose(
      torch::maximum(lift(run.shallow), lift(run.deep)).squeeze(1),
      lifted,
      1e-5,
      0));
}
