// Tests of the training loop to copy, and of its checkpoint.
// SPDX-License-Identifier: Apache-2.0
#include "support/catch.hpp"
#include "support/files.hpp"
#include "support/support.hpp"

#include "resnet_trainer/checkpoint.hpp"
#include "resnet_trainer/optimizer.hpp"
#include "resnet_trainer/resnet.hpp"
#include "resnet_trainer/train.hpp"

#include <torch/optim/sgd.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace {

namespace F = torch::nn::functional;
using care_test::contains;
using care_test::error_of;
using trainer::Batch;

/// Batches of three random pictures of two classes; the second has boxes.
std::vector<Batch> batches(int64_t count) {
  torch::manual_seed(7);
  std::vector<Batch> result;
  for (int64_t b = 0; b < count; ++b) {
    result.push_back(
        {torch::randint(256, {3, 3, 32, 32}, torch::kByte),
         torch::tensor({0, 1, 1}, torch::kLong),
         care::Boxes::from_lists(
             {{}, {{4, 4, 16, 20}}, {{8, 8, 30, 30}}}, {32, 32}),
         torch::arange(3 * b, 3 * b + 3)});
  }
  return result;
}

trainer::ResNet small_net() {
  torch::manual_seed(1);
  trainer::ResNetOptions options;
  options.classes = 2;
  options.width = 0.125;
  options.last_stride = 1;
  return trainer::ResNet(options);
}

const auto criterion = [](const torch::Tensor& logits,
                          const torch::Tensor& target) {
  return F::cross_entropy(logits, target);
};

std::vector<torch::Tensor> weights_of(const torch::nn::Module& net) {
  std::vector<torch::Tensor> all;
  for (const auto& p : net.parameters()) {
    all.push_back(p.detach().clone());
  }
  return all;
}

bool same(
    const std::vector<torch::Tensor>& a,
    const std::vector<torch::Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!torch::equal(a[i], b[i])) {
      return false;
    }
  }
  return a.size() == b.size();
}

/// A step of the loop written out by hand: the logits and the total loss.
template <class Criterion>
std::pair<torch::Tensor, torch::Tensor> step_by_hand(
    trainer::ResNet& net,
    const Criterion& loss_of,
    const care::Guide<>& guide,
    torch::optim::Optimizer& optimizer,
    const trainer::Batch& batch) {
  const auto x = (batch.images.to(torch::kFloat) / 255 - 0.5) / 0.25;
  auto features = net->features(x);
  const auto logits = net->fc(features.mean({2, 3}));
  const auto loss = guide.loss(
      loss_of(logits, batch.targets),
      {logits, features},
      batch.targets,
      batch.boxes);
  optimizer.zero_grad();
  loss.backward();
  optimizer.step();
  return {logits, loss.total};
}

void check_close(const trainer::ResNet& net, const trainer::ResNet& other) {
  const auto a = weights_of(*net), b = weights_of(*other);
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK((a[i] - b[i]).abs().max().item<double>() < 1e-5);
  }
}

} // namespace

TEST_CASE("train: an epoch is the loop written out by hand", "[train]") {
  auto data = batches(3);
  const care::Guide guide(care::GuideOptions().classes({1}).alpha(0.5));
  trainer::Input input;
  input.channels_last = false;

  auto net = small_net();
  torch::optim::SGD optimizer(net->parameters(), 0.05);
  const auto epoch =
      trainer::train_epoch(net, criterion, guide, optimizer, data, input, {});

  auto other = small_net();
  torch::optim::SGD by_hand(other->parameters(), 0.05);
  double loss_sum = 0;
  int64_t hits = 0;
  other->train();
  for (const auto& batch : data) {
    const auto [logits, total] =
        step_by_hand(other, criterion, guide, by_hand, batch);
    loss_sum += 3 * total.item<double>();
    hits += (logits.argmax(1) == batch.targets).sum().item<int64_t>();
  }
  check_close(net, other);
  CHECK(epoch.loss == Approx(loss_sum / 9).epsilon(1e-5));
  CHECK(epoch.accuracy == Approx(static_cast<double>(hits) / 9));
  CHECK(epoch.images == 9);
  CHECK(epoch.guided == 6);
  CHECK(epoch.inside > 0);
  CHECK(epoch.inside < 1);
}

TEST_CASE("train: masks that are the boxes train as they do", "[train]") {
  auto data = batches(3), masked = data;
  for (auto& batch : masked) {
    batch.masks = care::pixel_mask(batch.boxes);
  }
  const care::Guide guide(care::GuideOptions().classes({1}).alpha(0.5));
  for (const auto* augment : {"none", "flips"}) { // both exact
    trainer::StepOptions step;
    step.augment = care::AugmentOptions::preset(augment);
    auto net = small_net(), other = small_net();
    torch::optim::SGD optimizer(net->parameters(), 0.05);
    torch::optim::SGD of_other(other->parameters(), 0.05);
    const auto a =
        trainer::train_epoch(net, criterion, guide, optimizer, data, {}, step);
    const auto b = trainer::train_epoch(
        other, criterion, guide, of_other, masked, {}, step);
    CHECK(a.guided == b.guided);
    CHECK(a.loss == Approx(b.loss).epsilon(1e-4));
    CHECK(a.inner == Approx(b.inner).epsilon(1e-3));
    CHECK(a.inside == Approx(b.inside).epsilon(1e-3));
    net->fc->weight.data().abs_(); // every map has positive cells
    const auto said = trainer::predict(net, data, {}, {true});
    const auto of_masks = trainer::predict(net, masked, {}, {true});
    CHECK(torch::equal(said.boxed, of_masks.boxed));
    CHECK(care_test::allclose(
        said.epg.slice(0, 1, 3), of_masks.epg.slice(0, 1, 3), 1e-6, 0));
    CHECK(said.epg.slice(0, 1, 3).isfinite().all().item<bool>());
    CHECK(of_masks.epg.isnan()[0].item<bool>());
  }
  // Masks count, and boxes beside them do not.
  auto net = small_net();
  net->fc->weight.data().abs_();
  const auto first = trainer::predict(net, masked, {}, {true}).epg;
  for (auto& batch : masked) {
    batch.masks = 1 - batch.masks;
  }
  const auto rest = trainer::predict(net, masked, {}, {true}).epg;
  const auto whole = (first + rest).slice(0, 1, 3);
  CHECK(care_test::allclose(whole, torch::ones_like(whole), 1e-6, 0));
}

TEST_CASE("train: alpha 0 is plain training", "[train]") {
  auto data = batches(2);
  const care::Guide guide(care::GuideOptions().classes({1}).alpha(0));
  trainer::Input input;
  input.channels_last = false;
  auto net = small_net(), plain = small_net();
  torch::optim::SGD optimizer(net->parameters(), 0.05);
  torch::optim::SGD other(plain->parameters(), 0.05);
  const auto epoch =
      trainer::train_epoch(net, criterion, guide, optimizer, data, input, {});
  CHECK(epoch.guided == 0);
  CHECK(std::isnan(epoch.inside));
  for (const auto& batch : data) {
    const auto x = (batch.images.to(torch::kFloat) / 255 - 0.5) / 0.25;
    other.zero_grad();
    criterion(plain->forward(x), batch.targets).backward();
    other.step();
  }
  const auto a = weights_of(*net), b = weights_of(*plain);
  for (size_t i = 0; i < a.size(); ++i) {
    CHECK((a[i] - b[i]).abs().max().item<double>() < 1e-6);
  }
}

TEST_CASE("train: bfloat16 leaves map, loss and logits in float", "[train]") {
  auto data = batches(2);
  const care::Guide guide(care::GuideOptions().classes({1}).alpha(0.5));
  auto net = small_net(), in_float = small_net();
  torch::optim::SGD optimizer(net->parameters(), 0.05);
  torch::optim::SGD other(in_float->parameters(), 0.05);
  trainer::StepOptions mixed;
  mixed.bfloat16 = true;
  const auto a =
      trainer::train_epoch(net, criterion, guide, optimizer, data, {}, mixed);
  const auto b =
      trainer::train_epoch(in_float, criterion, guide, other, data, {}, {});
  CHECK(a.loss == Approx(b.loss).margin(0.05));
  CHECK(a.inside == Approx(b.inside).margin(0.1));
  for (const auto& p : net->parameters()) {
    CHECK(p.scalar_type() == torch::kFloat);
    CHECK(p.isfinite().all().item<bool>());
  }
}

TEST_CASE("train: clips the gradients' common norm", "[train]") {
  auto net = small_net();
  net->forward(torch::rand({2, 3, 32, 32})).square().sum().backward();
  const auto norm = [&] {
    double sum = 0;
    for (const auto& p : net->parameters()) {
      sum += p.grad().square().sum().item<double>();
    }
    return std::sqrt(sum);
  };
  const auto before = norm();
  trainer::clip_gradients(*net, 2 * before);
  CHECK(norm() == Approx(before).epsilon(1e-4));
  trainer::clip_gradients(*net, before / 3);
  CHECK(norm() == Approx(before / 3).epsilon(1e-4));

  // A layer under two names is clipped once.
  torch::nn::Linear shared(3, 3);
  torch::nn::Sequential tied(shared, shared);
  for (const auto& p : shared->parameters()) {
    p.mutable_grad() = torch::ones_like(p);
  }
  trainer::clip_gradients(*tied, std::sqrt(12.0) / 2); // of 12 ones
  CHECK(shared->bias.grad()[0].item<double>() == Approx(0.5).epsilon(1e-4));
}

TEST_CASE("train: a loss that is not finite names its batch", "[train]") {
  auto data = batches(4);
  const care::Guide guide(care::GuideOptions().classes({1}).alpha(0.5));
  auto net = small_net();
  torch::optim::SGD optimizer(net->parameters(), 0.01);
  int calls = 0;
  const auto breaks = [&](const torch::Tensor& logits,
                          const torch::Tensor& target) {
    const auto loss = F::cross_entropy(logits, target);
    return ++calls == 3 ? loss * std::numeric_limits<double>::infinity() : loss;
  };
  const auto error = error_of([&] {
    trainer::train_epoch(net, breaks, guide, optimizer, data, {}, {});
  });
  CHECK(contains(error, "the loss of batch 3 is not finite"));
  std::vector<Batch> none;
  CHECK(contains(
      error_of([&] {
        trainer::train_epoch(net, criterion, guide, optimizer, none, {}, {});
      }),
      "expected a batch"));
}

TEST_CASE("train: predictions are of the network in evaluation", "[train]") {
  auto data = batches(2);
  auto net = small_net();
  const trainer::Input input;
  const auto said = trainer::predict(net, data, input, {true, true});
  const auto fast = trainer::predict(net, data, input);
  CHECK(said.probabilities.sizes() == torch::IntArrayRef({6, 2}));
  CHECK(care_test::allclose(said.probabilities, fast.probabilities));
  CHECK(care_test::allclose(
      said.probabilities.sum(1), torch::ones({6}, torch::kDouble)));
  CHECK(torch::equal(
      said.targets, torch::tensor({0, 1, 1, 0, 1, 1}, torch::kLong)));
  CHECK(torch::equal(
      said.boxed, torch::tensor({0, 1, 1, 0, 1, 1}).to(torch::kBool)));
  CHECK(said.epg.isnan()[0].item<bool>());
  CHECK(fast.epg.isnan().all().item<bool>());

  net->eval();
  const auto x = (data[1].images.to(torch::kFloat) / 255 - 0.5) / 0.25;
  auto features = net->features(x);
  const auto logits = net->fc(features.mean({2, 3}));
  const auto map =
      care::grad_cam(features, care::class_scores(logits, data[1].targets));
  CHECK((said.maps.slice(0, 3) - map).abs().max().item<double>() < 1e-5);
  for (const auto& p : net->parameters()) {
    CHECK_FALSE(p.grad().defined());
  }
}

TEST_CASE("train: predictions of lesions alone, and without them", "[train]") {
  auto data = batches(1);
  auto net = small_net();
  net->eval();
  const auto x = (data[0].images.to(torch::kFloat) / 255 - 0.5) / 0.25;
  auto lesion = torch::zeros({3, 1, 32, 32});
  lesion[1].slice(1, 4, 20).slice(2, 4, 16).fill_(1);
  lesion[2].slice(1, 8, 30).slice(2, 8, 30).fill_(1);
  const auto check = [&](const torch::Tensor& shown) {
    trainer::PredictOptions how;
    how.grey = torch::equal(shown, lesion) ? trainer::Grey::kSurroundings
                                           : trainer::Grey::kLesion;
    CHECK(care_test::allclose(
        trainer::predict(net, data, {}, how).probabilities,
        net(x * shown).softmax(1).to(torch::kDouble),
        1e-5));
  };
  check(lesion);
  check(1 - lesion);
}

TEST_CASE("train: several labels a picture", "[train]") {
  auto data = batches(2);
  for (auto& batch : data) { // the first box speaks for 1, the second for both
    batch.targets = torch::tensor({{1.f, 0.f}, {1.f, 1.f}, {1.f, 1.f}});
    batch.boxes = batch.boxes.with_labels(torch::tensor({1, -1}, torch::kLong));
  }
  const auto bce = [](const torch::Tensor& logits,
                      const torch::Tensor& target) {
    return F::binary_cross_entropy_with_logits(logits, target);
  };
  const care::Guide guide(care::GuideOptions().alpha(0.5));
  trainer::Input input;
  input.channels_last = false;
  auto net = small_net(), other = small_net();
  torch::optim::SGD optimizer(net->parameters(), 0.05);
  torch::optim::SGD by_hand(other->parameters(), 0.05);
  const auto epoch =
      trainer::train_epoch(net, bce, guide, optimizer, data, input, {});
  double right = 0;
  other->train();
  for (const auto& batch : data) {
    const auto logits = step_by_hand(other, bce, guide, by_hand, batch).first;
    right += ((logits > 0) == (batch.targets > 0)).sum().item<double>();
  }
  check_close(net, other);
  CHECK(epoch.guided == 2 * 3); // (picture, label) pairs
  CHECK(epoch.accuracy == Approx(right / 12));

  trainer::PredictOptions options{true, true};
  options.multi_label = true;
  const auto said = trainer::predict(net, data, input, options);
  CHECK(said.targets.sizes() == torch::IntArrayRef({6, 2}));
  CHECK(torch::equal( // of the first box, else the first label
      said.shown,
      torch::tensor({0, 1, 0, 0, 1, 0}, torch::kLong)));
  CHECK(torch::equal(
      said.boxed, torch::tensor({0, 1, 1, 0, 1, 1}).to(torch::kBool)));
  net->eval();
  const auto x = (data[0].images.to(torch::kFloat) / 255 - 0.5) / 0.25;
  CHECK(care_test::allclose(
      said.probabilities.slice(0, 0, 3),
      net->forward(x).sigmoid().to(torch::kDouble),
      1e-5,
      1e-5));
}

TEST_CASE("train: without classes the likeliest one is shown", "[train]") {
  auto data = batches(1);
  data[0].targets = torch::Tensor();
  auto net = small_net();
  const auto said = trainer::predict(net, data, {}, {true, true});
  CHECK_FALSE(said.targets.defined());
  CHECK(torch::equal(said.shown, said.probabilities.argmax(1)));
  CHECK(said.maps.size(0) == 3);
}

TEST_CASE("train: the learning rate of each epoch and group", "[train]") {
  const std::vector<trainer::Group> groups{
      {{torch::ones({2}).requires_grad_()}, 1},
      {{torch::ones({3}).requires_grad_()}, 0.1}};
  const auto kind = GENERATE(
      trainer::Optimizer::kSgd,
      trainer::Optimizer::kAdam,
      trainer::Optimizer::kAdamW);
  const auto optimizer = trainer::make_optimizer(kind, groups, 1, 0);
  trainer::Options options;
  options.lr = 0.3;
  options.lr_warmup = 2;
  options.stage1 = 2;
  options.stage2 = 4;
  const auto rates = [&] {
    std::vector<double> result;
    for (int64_t epoch = 0; epoch < 6; ++epoch) {
      const auto rate =
          trainer::set_epoch_rate(*optimizer, groups, options, epoch);
      const auto set = [&](size_t group) {
        return optimizer->param_groups()[group].options().get_lr();
      };
      CHECK(set(0) == Approx(rate));
      CHECK(set(1) == Approx(rate / 10));
      result.push_back(rate);
    }
    return result;
  };
  const double falls = 0.15 * (1 + std::sqrt(0.5)); // at a quarter
  options.cosine = true;
  const std::vector<double> expected{0.1, 0.2, 0.3, falls, 0.15, 0.3 - falls};
  const auto cosine = rates();
  for (size_t i = 0; i < expected.size(); ++i) {
    CHECK(cosine[i] == Approx(expected[i]));
  }
  options.cosine = false;
  CHECK(rates().back() == Approx(0.3));
}

TEST_CASE("checkpoint: gives back everything, or says why not", "[train]") {
  const care_test::Folder folder;
  const auto file = folder.path / "c.pt";
  auto data = batches(2);
  const auto options = care::GuideOptions().classes({1}).schedule(
      care::ScheduleOptions().start(2));
  care::Guide guide(options), other_guide(options);
  auto net = small_net(), best = small_net(), other = small_net(),
       other_best = small_net();
  const auto momentum = torch::optim::SGDOptions(0.01).momentum(0.9);
  torch::optim::SGD optimizer(net->parameters(), momentum);
  torch::optim::SGD other_optimizer(other->parameters(), momentum);
  trainer::train_epoch(net, criterion, guide, optimizer, data, {}, {});
  guide.advance();
  trainer::Progress progress{3, 0.5, "history\n", "identity"};
  trainer::save_checkpoint(file, progress, *net, optimizer, guide, &*best);

  trainer::Progress read;
  read.identity = "identity";
  trainer::load_checkpoint(
      file,
      read,
      *other,
      other_optimizer,
      other_guide,
      torch::kCPU,
      &*other_best);
  CHECK(read.epoch == 3);
  CHECK(read.best == 0.5);
  CHECK(read.history == "history\n");
  CHECK(same(weights_of(*net), weights_of(*other)));
  CHECK(same(weights_of(*best), weights_of(*other_best)));
  // Momentum and schedule too: the next epoch is the same to the last bit.
  trainer::train_epoch(net, criterion, guide, optimizer, data, {}, {});
  trainer::train_epoch(
      other, criterion, other_guide, other_optimizer, data, {}, {});
  CHECK(same(weights_of(*net), weights_of(*other)));

  const auto load = [&](const std::string& identity) {
    trainer::Progress p;
    p.identity = identity;
    return error_of([&] {
      trainer::load_checkpoint(
          file,
          p,
          *other,
          other_optimizer,
          other_guide,
          torch::kCPU,
          &*other_best);
    });
  };
  CHECK(contains(load("another"), "expected a training of\nanother"));
  const auto bytes = care_test::read_text(file);
  for (const size_t length : {size_t{0}, size_t{10}, bytes.size() / 2}) {
    care_test::write_text(file, bytes.substr(0, length));
    CHECK(contains(load("identity"), "cannot go on from this checkpoint"));
  }
}
