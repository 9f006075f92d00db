// Trains one network in two stages, and asks it about test images.
// SPDX-License-Identifier: Apache-2.0
#include "resnet_trainer/train.hpp"

#include "common/files.hpp"
#include "common/progress.hpp"
#include "resnet_trainer/dataset.hpp"

#include <care/care.hpp>

#include <fmt/format.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace trainer {

namespace F = torch::nn::functional;

namespace {

std::unique_ptr<torch::optim::Optimizer> make_optimizer(
    const Settings& settings,
    const ResNet& net) {
  if (settings.optimizer == "sgd") {
    return std::make_unique<torch::optim::SGD>(
        net->parameters(),
        torch::optim::SGDOptions(settings.lr)
            .momentum(0.9)
            .weight_decay(settings.weight_decay));
  }
  return std::make_unique<torch::optim::Adam>(
      net->parameters(),
      torch::optim::AdamOptions(settings.lr)
          .weight_decay(settings.weight_decay));
}

void set_learning_rate(
    torch::optim::Optimizer& optimizer,
    const Settings& settings,
    int64_t epoch) {
  double lr = settings.lr;
  if (settings.lr_schedule == "cosine") {
    const auto total = static_cast<double>(settings.stage1 + settings.stage2);
    lr *= 0.5 * (1 + std::cos(M_PI * static_cast<double>(epoch) / total));
  }
  for (auto& group : optimizer.param_groups()) {
    group.options().set_lr(lr);
  }
}

/// Images of the whole set over images of each class, divided by the classes:
/// an average image weighs 1.
torch::Tensor class_weights(
    const std::vector<common::Sample>& samples,
    int64_t classes) {
  auto counts = torch::bincount(
      torch::tensor(targets_of(samples), torch::kLong), {}, classes);
  return static_cast<double>(samples.size()) /
      (counts.clamp_min(1).to(torch::kFloat) * static_cast<double>(classes));
}

// ----------------------------------------------------------- checkpoints ---

/// Everything that changes while a network trains.
struct State {
  ResNet net;
  std::unique_ptr<torch::optim::Optimizer> optimizer;
  Method method;
  int64_t epoch = 0; // finished ones
  bool audited = false; // in this process
  std::vector<EpochRow> rows;
  double best = -1; // the best validation figure so far
  ResNet best_net;
};

torch::Tensor to_tensor(const std::vector<EpochRow>& rows) {
  std::vector<double> numbers;
  for (const auto& r : rows) {
    for (double x :
         {static_cast<double>(r.epoch),
          static_cast<double>(r.stage),
          static_cast<double>(r.guided),
          r.train_loss,
          r.inner,
          r.outer,
          r.inside_share,
          r.train_accuracy,
          r.val_mca,
          r.val_accuracy,
          r.val_rare_recall,
          r.seconds}) {
      numbers.push_back(x);
    }
  }
  return torch::tensor(numbers, torch::kDouble).view({-1, 12});
}

std::vector<EpochRow> to_rows(const torch::Tensor& table) {
  std::vector<EpochRow> rows;
  for (int64_t i = 0; i < table.size(0); ++i) {
    const auto* x = table.data_ptr<double>() + i * table.size(1);
    EpochRow r;
    r.epoch = static_cast<int64_t>(x[0]);
    r.stage = static_cast<int>(x[1]);
    r.guided = static_cast<int64_t>(x[2]);
    r.train_loss = x[3];
    r.inner = x[4];
    r.outer = x[5];
    r.inside_share = x[6];
    r.train_accuracy = x[7];
    r.val_mca = x[8];
    r.val_accuracy = x[9];
    r.val_rare_recall = x[10];
    r.seconds = x[11];
    rows.push_back(r);
  }
  return rows;
}

void save(const State& state, const std::filesystem::path& path) {
  torch::serialize::OutputArchive archive, net, best, optimizer, guide;
  state.net->save(net);
  state.best_net->save(best);
  state.optimizer->save(optimizer);
  guide << state.method.guide;
  archive.write("net", net);
  archive.write("best_net", best);
  archive.write("optimizer", optimizer);
  archive.write("guide", guide);
  if (state.method.balance) {
    torch::serialize::OutputArchive balance;
    balance << *state.method.balance;
    archive.write("balance", balance);
  }
  archive.write("epoch", c10::IValue(state.epoch));
  archive.write("best", c10::IValue(state.best));
  archive.write("rows", to_tensor(state.rows));
  std::ostringstream bytes;
  archive.save_to(bytes);
  common::write_atomically(path, bytes.str());
}

void load(
    State& state,
    const std::filesystem::path& path,
    torch::Device device) {
  try {
    torch::serialize::InputArchive archive, net, best, optimizer, guide;
    archive.load_from(path.string(), device);
    archive.read("net", net);
    archive.read("best_net", best);
    archive.read("optimizer", optimizer);
    archive.read("guide", guide);
    if (state.method.balance) {
      torch::serialize::InputArchive balance;
      archive.read("balance", balance);
      balance >> *state.method.balance;
    }
    state.net->load(net);
    state.best_net->load(best);
    state.optimizer->load(optimizer);
    guide >> state.method.guide;
    c10::IValue value;
    archive.read("epoch", value);
    state.epoch = value.toInt();
    archive.read("best", value);
    state.best = value.toDouble();
    torch::Tensor rows;
    archive.read("rows", rows);
    state.rows = to_rows(rows.to(torch::kCPU).contiguous());
  } catch (const c10::Error& error) {
    throw std::runtime_error(fmt::format(
        "{}: cannot go on from this checkpoint; --fresh starts anew ({})",
        path.string(),
        error.what_without_backtrace()));
  }
}

void copy_weights(ResNet& from, ResNet& to) {
  torch::NoGradGuard no_grad;
  auto parameters = to->named_parameters();
  for (auto& item : from->named_parameters()) {
    parameters[item.key()].copy_(item.value());
  }
  auto buffers = to->named_buffers();
  for (auto& item : from->named_buffers()) {
    buffers[item.key()].copy_(item.value());
  }
}

// ---------------------------------------------------------------- epochs ---

template <class Visit>
void for_each_batch(
    const Settings& settings,
    const std::vector<common::Sample>& samples,
    Visit visit) {
  auto loader = torch::data::make_data_loader(
      LesionDataset(samples, {}),
      EpochSampler(targets_of(samples), Order::kInOrder, 0),
      torch::data::DataLoaderOptions(static_cast<size_t>(settings.batch)));
  for (auto& batch : *loader) {
    visit(batch);
  }
}

void validate(
    const Settings& settings,
    const Job& job,
    ResNet& net,
    const std::vector<common::Sample>& samples,
    EpochRow& row) {
  if (samples.empty()) {
    return;
  }
  torch::NoGradGuard no_grad;
  net->eval();
  care::ConfusionMatrix matrix(job.classes);
  for_each_batch(settings, samples, [&](const Batch& batch) {
    auto logits = net(batch.images.to(torch::Device(settings.device)));
    matrix.update(batch.targets, logits.argmax(1).to(torch::kCPU));
  });
  row.val_mca = matrix.mca();
  row.val_accuracy = matrix.accuracy();
  auto recall = matrix.recall();
  double sum = 0;
  int64_t known = 0;
  for (auto label : job.rare) {
    const auto value = recall[label].item<double>();
    if (std::isfinite(value)) {
      sum += value;
      ++known;
    }
  }
  row.val_rare_recall = known > 0 ? sum / static_cast<double>(known) : kNaN;
}

/// The convolutions' weights in the order that bfloat16 kernels want.
void to_channels_last(ResNet& net) {
  torch::NoGradGuard no_grad;
  for (auto& parameter : net->parameters()) {
    if (parameter.dim() == 4) {
      parameter.set_data(
          parameter.contiguous(torch::MemoryFormat::ChannelsLast));
    }
  }
}

/// One pass over the training data: the part to copy.
template <class Loader>
EpochRow train_epoch(
    State& state,
    Loader& loader,
    const Settings& settings,
    common::Progress& progress) {
  const torch::Device device(settings.device);
  const bool mixed = settings.precision == "bfloat16";
  auto& net = state.net;
  auto& guide = state.method.guide;
  const auto& layers = guide.options().target_layers();
  const bool watch_last_map = layers.size() == 1 && layers[0].is_default();
  net->train();
  double loss_sum = 0, inner = 0, outer = 0, inside = 0;
  int64_t images = 0, hits = 0, guided = 0;
  for (auto& batch : loader) {
    auto input = batch.images.to(device);
    if (mixed) {
      input = input.contiguous(torch::MemoryFormat::ChannelsLast);
    }
    const auto target = batch.targets.to(device);
    const auto boxes = settings.dilate == 1
        ? batch.boxes
        : batch.boxes.dilate(settings.dilate).clip();

    const auto features = [&] { // in bfloat16, the head in float
      const care::Autocast autocast(device, torch::kBFloat16, mixed);
      return net->features(input).to(torch::kFloat);
    };
    auto seen = watch_last_map
        ? guide.watch(
              features(),
              [&](const torch::Tensor& x) { return net->classify(x); })
        : guide.watch([&] { return net->classify(features()); });
    const auto classification =
        state.method.criterion(seen.logits, target, state.epoch);
    auto& balance = state.method.balance;
    auto loss = balance
        ? guide.loss(classification, seen, batch.targets, boxes, *balance)
        : guide.loss(classification, seen, batch.targets, boxes);
    if (!state.audited && loss.attention.guided > 0) {
      const auto audit = guide.audit(
          classification, seen, batch.targets, boxes, net->parameters());
      progress.line(audit.str());
      state.audited = true;
    }
    // While the attention loss is off, its figures are for the curves alone.
    const auto attention = loss.attention.guided > 0
        ? loss.attention
        : guide.evaluate(seen, batch.targets, boxes);
    state.optimizer->zero_grad();
    loss.backward();
    state.optimizer->step();

    const auto n = batch.targets.size(0);
    const auto g = static_cast<double>(attention.guided);
    const auto value = loss.total.template item<double>();
    if (!std::isfinite(value)) {
      throw std::runtime_error(
          "the training loss is no longer finite; try a smaller --lr");
    }
    loss_sum += value * static_cast<double>(n);
    inner += attention.inner.template item<double>() * g;
    outer += attention.outer.template item<double>() * g;
    inside += attention.inside_share.template item<double>() * g;
    guided += attention.guided;
    images += n;
    hits += (seen.logits.argmax(1) == target).sum().template item<int64_t>();
    progress.advance(n);
  }
  const auto count = static_cast<double>(images);
  const auto maps = static_cast<double>(guided);
  EpochRow row;
  row.guided = guided;
  row.train_loss = loss_sum / count;
  row.train_accuracy = static_cast<double>(hits) / count;
  if (guided > 0) {
    row.inner = inner / maps;
    row.outer = outer / maps;
    row.inside_share = inside / maps;
  }
  return row;
}

/// Raw Grad-CAM of the true class, [N, h, w] on the host, and the logits.
std::pair<torch::Tensor, torch::Tensor> maps_and_logits(
    const Settings& settings,
    ResNet& net,
    const Batch& batch) {
  const auto features =
      net->features(batch.images.to(torch::Device(settings.device)))
          .detach()
          .requires_grad_();
  torch::AutoGradMode record(true); // of the head alone
  const auto logits = net->classify(features);
  const auto maps =
      care::grad_cam(features, care::class_scores(logits, batch.targets));
  return {maps.detach().to(torch::kCPU), logits.detach()};
}

/// The epoch in a line: what was measured of it.
std::string line_of(const EpochRow& row) {
  auto line = fmt::format(
      "epoch {:2}: loss {:.3f}, accuracy {:.3f}",
      row.epoch,
      row.train_loss,
      row.train_accuracy);
  if (!std::isnan(row.inside_share)) {
    line += fmt::format(", attention inside {:.3f}", row.inside_share);
  }
  if (!std::isnan(row.val_mca)) {
    line += fmt::format(", validation MCA {:.3f}", row.val_mca);
  }
  return line + fmt::format(", {:.1f} s", row.seconds);
}

} // namespace

ResNet make_net(const Settings& settings, int64_t classes, bool cosine_head) {
  ResNetOptions options;
  options.depth = std::stoll(settings.net.substr(std::string("resnet").size()));
  options.classes = classes;
  options.width = settings.width;
  options.last_stride = settings.last_stride;
  options.cosine_head = cosine_head;
  return ResNet(options);
}

Method make_method(
    const Settings& settings,
    const Job& job,
    const FoldData& data) {
  F::CrossEntropyFuncOptions cross_entropy;
  if (settings.class_weights) {
    cross_entropy.weight(class_weights(data.train, job.classes)
                             .to(torch::Device(settings.device)));
  }
  const auto criterion = [cross_entropy](
                             const torch::Tensor& logits,
                             const torch::Tensor& target,
                             int64_t /*epoch*/) {
    return F::cross_entropy(logits, target, cross_entropy);
  };
  const auto options =
      care::GuideOptions()
          .classes(job.guided)
          .alpha(settings.alpha)
          .order(
              settings.full_gradient ? care::GradientOrder::kFull
                                     : care::GradientOrder::kFirst)
          .schedule(care::ScheduleOptions()
                        .start(
                            job.care ? settings.stage1
                                     : care::ScheduleOptions::kManual)
                        .warmup(settings.warmup));
  const auto loss =
      care::AttentionLossOptions().lambda(settings.lambda).tau(settings.tau);
  return {
      criterion,
      care::Guide<AnyMap, AnyLoss>(
          options, AnyLoss{care::CareLoss{loss}, loss}, care::GradCam()),
      torch::nullopt,
      settings.balanced ? Order::kBalanced : Order::kShuffled};
}

Trained train(
    const Settings& settings,
    const Job& job,
    const FoldData& data,
    Method method) {
  const torch::Device device(settings.device);
  const auto seed = static_cast<uint64_t>(job.seed);
  torch::manual_seed(seed);
  const bool cosine_head = method.cosine_head;
  State state{
      make_net(settings, job.classes, cosine_head),
      nullptr,
      std::move(method),
      0,
      false,
      {},
      -1,
      make_net(settings, job.classes, cosine_head)};
  state.net->to(device);
  state.best_net->to(device);
  if (settings.precision == "bfloat16") {
    to_channels_last(state.net);
  }
  state.optimizer = make_optimizer(settings, state.net);

  const auto epochs = settings.stage1 + settings.stage2;
  const auto per_epoch = static_cast<int64_t>(data.train.size());
  if (std::filesystem::exists(job.checkpoint)) {
    load(state, job.checkpoint, device);
  } else if (std::filesystem::exists(job.stage1)) {
    load(state, job.stage1, device);
  }
  common::Progress progress(
      job.label, epochs * per_epoch, state.epoch * per_epoch);
  if (state.epoch > 0) {
    progress.line(fmt::format("going on after epoch {}", state.epoch));
  }

  DatasetOptions dataset;
  dataset.augment = settings.augment;
  dataset.seed = seed;
  auto loader = torch::data::make_data_loader(
      LesionDataset(data.train, dataset),
      EpochSampler(
          targets_of(data.train), state.method.order, seed, state.epoch),
      torch::data::DataLoaderOptions(static_cast<size_t>(settings.batch))
          .workers(1));

  while (state.epoch < epochs) {
    const auto start = common::steady_seconds();
    set_learning_rate(*state.optimizer, settings, state.epoch);
    auto row = train_epoch(state, *loader, settings, progress);
    row.epoch = state.epoch + 1;
    row.stage = state.epoch < settings.stage1 ? 1 : 2;
    validate(settings, job, state.net, data.validation, row);
    row.seconds = common::steady_seconds() - start;
    state.rows.push_back(row);
    state.method.guide.advance();
    ++state.epoch;
    // The best epoch is sought in stage 2, where the arms differ.
    const bool stage2 = state.epoch > settings.stage1;
    if (stage2 && settings.select == "best" && row.val_mca > state.best) {
      state.best = row.val_mca;
      copy_weights(state.net, state.best_net);
    }
    save(state, job.checkpoint);
    if (state.epoch == settings.stage1 &&
        !std::filesystem::exists(job.stage1)) {
      save(state, job.stage1);
    }
    progress.line(line_of(row));
  }
  progress.finish();
  Trained result;
  result.net = state.best >= 0 ? state.best_net : state.net;
  result.epochs = state.rows;
  return result;
}

std::vector<Prediction> predict(
    const Settings& settings,
    ResNet net,
    const std::vector<common::Sample>& samples) {
  torch::NoGradGuard no_grad;
  net->eval();
  std::vector<Prediction> predictions;
  for_each_batch(settings, samples, [&](const Batch& batch) {
    const auto seen = maps_and_logits(settings, net, batch);
    const auto& maps = seen.first;
    auto probability = torch::softmax(seen.second, 1)
                           .to(torch::kCPU, torch::kDouble)
                           .contiguous();
    auto epg = care::energy_pointing_game(maps, care::pixel_mask(batch.boxes));
    auto boxed = batch.boxes.boxes_per_image() > 0;
    for (int64_t i = 0; i < batch.targets.size(0); ++i) {
      Prediction p;
      p.id = samples[predictions.size()].id;
      p.target = batch.targets[i].item<int64_t>();
      const auto* row = probability[i].data_ptr<double>();
      p.probability.assign(row, row + probability.size(1));
      p.boxed = boxed[i].item<bool>();
      p.epg = p.boxed ? epg[i].item<double>() : kNaN;
      predictions.push_back(std::move(p));
    }
  });
  return predictions;
}

torch::Tensor attention_maps(
    const Settings& settings,
    ResNet net,
    const std::vector<common::Sample>& samples) {
  torch::NoGradGuard no_grad;
  net->eval();
  std::vector<torch::Tensor> maps;
  for_each_batch(settings, samples, [&](const Batch& batch) {
    maps.push_back(maps_and_logits(settings, net, batch).first);
  });
  return torch::cat(maps);
}

} // namespace trainer
