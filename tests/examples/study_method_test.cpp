// Tests of an arm as criterion, guide and network.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/support.hpp"

#include "study/method.hpp"
#include "weights/weights.hpp"

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace {

const std::vector<int64_t> kCounts{20, 10, 5};

/// Every choice of an enum.
template <class Choice>
std::vector<Choice> all_of() {
  std::vector<Choice> choices;
  for (size_t i = 0; i < study::kNames<Choice>.size(); ++i) {
    choices.push_back(static_cast<Choice>(i));
  }
  return choices;
}

} // namespace

TEST_CASE("study: every criterion gives a finite loss and gradient") {
  const auto logits =
      torch::tensor({{0.5, -0.2, 0.1}, {-0.3, 0.4, 0.2}}, torch::kFloat);
  const auto target = torch::tensor({0, 2}, torch::kLong);
  std::map<std::string, double> values;
  for (const auto imbalance : all_of<study::Imbalance>()) {
    INFO(study::name_of(imbalance));
    const auto criterion =
        study::criterion_of(imbalance, kCounts, 10, torch::kCPU);
    auto x = logits.clone().requires_grad_();
    const auto loss = criterion(x, target, 0);
    loss.backward();
    CHECK(x.grad().isfinite().all().item<bool>());
    values[study::name_of(imbalance)] = loss.item<double>();
  }
  for (const auto& [name, value] : values) {
    INFO(name);
    CHECK(std::isfinite(value));
  }
  const auto number = [](const torch::Tensor& x) { return x.item<double>(); };
  const auto ce = number(torch::nn::functional::cross_entropy(logits, target));
  CHECK(values.size() == 12);
  CHECK(values["ce"] == Approx(ce));
  CHECK(values["class_balanced_sampling"] == Approx(ce));
  CHECK(values["class_weights"] != Approx(ce));
  // Both are inverse frequencies; a weighted mean knows no common factor.
  CHECK(values["median_weights"] == Approx(values["class_weights"]));
  CHECK(values["focal"] == Approx(number(care::focal_loss(logits, target))));
  CHECK(
      values["balanced_softmax"] ==
      Approx(number(care::logit_adjusted_loss(logits, target, kCounts))));
  CHECK(
      values["logit_adjustment"] ==
      Approx(number(care::logit_adjusted_loss(
          logits, target, kCounts, care::LogitAdjustmentOptions().tau(0.5)))));
  CHECK(
      values["label_smoothing"] ==
      Approx(number(care::smoothed_cross_entropy(
          logits, target, care::smoothing_by_count(kCounts, 0.2)))));

  // LDAM's weights come in the last fifth of the epochs.
  const auto ldam =
      study::criterion_of(study::Imbalance::kLdamDrw, kCounts, 10, torch::kCPU);
  const auto at = [&](int64_t epoch) {
    return ldam(logits, target, epoch).item<double>();
  };
  CHECK(at(0) == at(7));
  CHECK(at(7) != Approx(at(8)));
}

TEST_CASE("study: every guidance and map trains a network") {
  study::Recipe recipe;
  recipe.size = "32";
  recipe.width = 0.125;
  torch::manual_seed(1);
  const auto images = torch::rand({4, 3, 32, 32});
  const auto target = torch::tensor({0, 1, 2, 2}, torch::kLong);
  const auto boxes = care::Boxes::from_lists(
      {{{4, 4, 20, 20}}, {{8, 8, 30, 30}}, {{0, 0, 9, 9}}, {}}, {32, 32});
  const auto check = [&](study::Arm arm) {
    torch::manual_seed(0);
    auto net = study::make_network(recipe, arm, 3);
    const study::ArmGuide guide(arm, {0, 1, 2}, recipe);
    const auto seen = guide.watch(net, images);
    const auto loss = guide.loss(
        torch::nn::functional::cross_entropy(seen.logits, target),
        seen,
        target,
        boxes);
    CHECK(loss.attention.guided == (arm.is_guided() ? 3 : 0));
    loss.backward();
    CHECK(net->parameters()[0].grad().isfinite().all().item<bool>());
    if (arm.map_stride > 0) {
      CHECK(seen.features.size(2) == 32 / arm.map_stride);
    }
    return std::llround(1e6 * loss.total.item<double>());
  };
  study::Arm arm;
  std::set<int64_t> totals; // a millionth is no difference
  for (const auto guidance : all_of<study::Guidance>()) {
    INFO(study::name_of(guidance));
    arm.guidance = guidance;
    CHECK(totals.insert(check(arm)).second); // unlike the others
  }
  arm.guidance = study::Guidance::kCare;
  arm.map_stride = 8; // right before a pooled head most maps are the same
  totals.clear();
  for (const auto map : all_of<study::AttentionMap>()) {
    INFO(study::name_of(map));
    arm.map = map;
    totals.insert(check(arm));
  }
  CHECK(totals.size() > 3);
  arm.full_gradient = true;
  arm.balance = 1;
  CHECK(totals.count(check(arm)) == 0);
}

TEST_CASE("study: LDAM's logits are cosines") {
  study::Recipe recipe;
  recipe.width = 0.125;
  study::Arm arm;
  arm.imbalance = study::Imbalance::kLdamDrw;
  auto net = study::make_network(recipe, arm, 3);
  const auto logits = net->forward(torch::rand({2, 3, 32, 32}) * 100);
  CHECK((logits.abs() <= 1 + 1e-5).all().item<bool>());
  for (const auto& item : net->named_parameters()) {
    CHECK(item.key().find("fc.bias") == std::string::npos);
  }
}

TEST_CASE("study: networks start from weights and their values") {
  const care_test::Folder folder;
  const auto file = folder.path / "first.safetensors";
  study::Recipe recipe;
  recipe.width = 0.125;
  torch::manual_seed(0);
  const auto first = study::make_network(recipe, {}, 5);
  const auto plain = study::input_of(recipe, torch::kCPU);
  CHECK(plain.mean[1] == 0.5);
  weights::write_safetensors(
      file, {weights::state_dict(*first), {{"mean", "[0.1,0.2,0.3]"}}});

  recipe.weights = file.string();
  const auto second = study::make_network(recipe, {}, 3);
  const auto body = weights::state_dict(*first);
  for (const auto& [name, tensor] : weights::state_dict(*second)) {
    INFO(name);
    CHECK(torch::equal(tensor, body.at(name)) == (name.rfind("fc.", 0) != 0));
  }
  const auto input = study::input_of(recipe, torch::kCPU);
  CHECK(input.mean[1] == 0.2); // the file's
  CHECK(input.deviation[1] == 0.224); // ImageNet's

  recipe.net = "mobilenet_v2";
  recipe.width = 1;
  recipe.last_stride = 2;
  CARE_REQUIRE_THROWS_AS(
      study::make_network(recipe, {}, 3), c10::ValueError, "not in the file");
  recipe.weights.clear();
  auto other = study::make_network(recipe, {}, 3);
  CHECK(other->forward(torch::rand({2, 3, 64, 64})).size(1) == 3);
}

TEST_CASE("study: tokens and NHWC maps are guided") {
  const auto target = torch::tensor({0, 1}, torch::kLong);
  study::Arm arm;
  arm.guidance = study::Guidance::kCare;
  for (const auto& [name, shape] : std::map<std::string, std::vector<int64_t>>{
           {"convnext_tiny", {2, 7, 7, 768}}, {"vit_ti_16", {2, 197, 192}}}) {
    INFO(name);
    study::Recipe recipe;
    recipe.net = name;
    recipe.size = "224";
    recipe.width = 1;
    recipe.last_stride = 2;
    auto net = study::make_network(recipe, arm, 2);
    const study::ArmGuide guide(arm, {0, 1}, recipe);
    const auto seen = guide.watch(net, torch::rand({2, 3, 224, 224}));
    CHECK(seen.features.sizes() == torch::IntArrayRef(shape));
    const auto loss = guide.loss(
        torch::nn::functional::cross_entropy(seen.logits, target),
        seen,
        target,
        care::Boxes::from_lists(
            {{{4, 4, 90, 90}}, {{8, 8, 200, 99}}}, {224, 224}));
    CHECK(loss.attention.guided == 2);
    CHECK(loss.total.isfinite().item<bool>());
  }
}
