// Trains the U-Net on lesion masks, or on boxes where there are none.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/train_unet.hpp"

#include "common/files.hpp"
#include "common/parallel.hpp"
#include "common/pictures.hpp"
#include "common/progress.hpp"
#include "common/random.hpp"

#include <care/rasterize.hpp>
#include <care/segmentation.hpp>

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <torch/torch.h>
#include <opencv2/imgcodecs.hpp>
#include <opencv2/imgproc.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>
#include <stdexcept>

namespace auto_boxes {
namespace {

namespace fs = std::filesystem;
using common::Record;

/// One picture and its mask, at the network's size.
struct Lesion {
  std::string label;
  torch::Tensor image; // [3, H, W] bytes
  torch::Tensor mask; // [H, W] float, the share of each pixel that is lesion
};

/// Under the picture's path or, where there is none, under its bare name.
fs::path mask_file(const UNetSettings& settings, const Record& record) {
  const auto name = fs::path(record.path).replace_extension(".png");
  const auto nested = fs::path(settings.masks) / name;
  return name.is_relative() && fs::exists(nested)
      ? nested
      : fs::path(settings.masks) / name.filename();
}

/// Refuses a mask that two pictures would share.
void check_masks(
    const UNetSettings& settings,
    const std::vector<Record>& records) {
  if (settings.masks.empty()) {
    return;
  }
  std::map<fs::path, std::string> of;
  for (const auto& record : records) {
    const auto file = mask_file(settings, record);
    const auto known = of.emplace(file, record.path);
    if (fs::exists(file) && !known.second) {
      throw std::runtime_error(fmt::format(
          "{}: expected a mask of its own for {}, but {} is that of {}, too; "
          "masks may lie in folders like the pictures'",
          record.where,
          record.path,
          file.string(),
          known.first->second));
    }
  }
}

torch::Tensor mask_of(
    const UNetSettings& settings,
    const Record& record,
    care::Size stored) {
  if (settings.masks.empty()) {
    return care::pixel_mask(
        common::boxes_on(record, stored).resize(settings.size))[0];
  }
  const auto file = mask_file(settings, record);
  if (!fs::exists(file) && record.boxes.empty()) {
    return torch::zeros({settings.size.height, settings.size.width});
  }
  const cv::Mat mask = cv::imread(file.string(), cv::IMREAD_GRAYSCALE);
  if (mask.rows != stored.height || mask.cols != stored.width) {
    throw std::runtime_error(fmt::format(
        "{}: expected a mask of {} x {} pixels in {}, but got {}",
        record.where,
        stored.width,
        stored.height,
        file.string(),
        mask.empty() ? "none that can be read"
                     : fmt::format("{} x {}", mask.cols, mask.rows)));
  }
  cv::Mat share;
  cv::Mat(mask > 0).convertTo(share, CV_32F, 1.0 / 255);
  share = common::resized(share, settings.size);
  return torch::from_blob(share.data, {share.rows, share.cols}).clone();
}

std::vector<Lesion> load(
    const UNetSettings& settings,
    const std::vector<Record>& records) {
  std::vector<Lesion> lesions(records.size());
  cv::setNumThreads(0); // these threads are ours
  common::parallel_for(
      records.size(), static_cast<int>(settings.threads), [&](size_t i) {
        const auto picture = common::read_picture(records[i]);
        auto& lesion = lesions[i];
        lesion.label = records[i].label;
        lesion.image =
            common::to_tensor(common::resized(picture, settings.size));
        lesion.mask =
            mask_of(settings, records[i], {picture.rows, picture.cols});
      });
  return lesions;
}

/// 1 - soft Dice of each image, plus the cross-entropy of its pixels: [N].
torch::Tensor losses(const torch::Tensor& logits, const torch::Tensor& masks) {
  const auto target = masks.flatten(1), score = logits.flatten(1);
  const auto entropy = torch::binary_cross_entropy_with_logits(
                           score, target, {}, {}, at::Reduction::None)
                           .mean(1);
  const auto share = torch::sigmoid(score);
  const auto both = (share * target).sum(1);
  // One pixel more: a picture without a lesion has a Dice, too.
  const auto dice = (2 * both + 1) / (share.sum(1) + target.sum(1) + 1);
  return entropy + 1 - dice;
}

DiceByLabel dice_of(const UNet& net, const std::vector<Lesion>& lesions) {
  DiceByLabel result;
  for (const auto& lesion : lesions) {
    const auto truth = lesion.mask >= 0.5;
    const auto size = truth.sum().item<double>();
    if (size == 0) {
      continue;
    }
    const auto image = lesion.image.unsqueeze(0).to(torch::kFloat) / 255;
    const auto seen = care::segment(image, net)[0] >= 0.5;
    const auto both = (seen & truth).sum().item<double>();
    auto& [sum, count] = result[lesion.label];
    sum += 2 * both / (size + seen.sum().item<double>());
    ++count;
  }
  for (auto& entry : result) {
    entry.second.first /= static_cast<double>(entry.second.second);
  }
  return result;
}

/// What changes while the network trains.
struct State {
  UNet net;
  torch::optim::Adam optimizer;
  int64_t epoch = 0; // finished ones
  double loss = 0;
};

/// What makes two trainings the same, for the checkpoint.
std::string identity(const UNetSettings& s) {
  return fmt::format(
      "{} {} {} {} {} {} {} {} {} {} {} {} {}",
      s.data,
      common::fingerprint(common::read_file(s.data)),
      s.masks,
      fmt::join(s.exclude, ","),
      s.leave_fold,
      s.size.height,
      s.size.width,
      s.net.width,
      s.net.depth,
      s.epochs,
      s.batch,
      s.lr,
      s.seed);
}

void save(
    const State& state,
    const UNetSettings& settings,
    const fs::path& path) {
  torch::serialize::OutputArchive archive, net, optimizer;
  state.net->save(net);
  state.optimizer.save(optimizer);
  archive.write("net", net);
  archive.write("optimizer", optimizer);
  archive.write("epoch", c10::IValue(state.epoch));
  archive.write("loss", c10::IValue(state.loss));
  archive.write("identity", c10::IValue(identity(settings)));
  std::ostringstream bytes;
  archive.save_to(bytes);
  common::write_atomically(path, bytes.str());
}

void load(State& state, const UNetSettings& settings, const fs::path& path) {
  try {
    torch::serialize::InputArchive archive, net, optimizer;
    archive.load_from(path.string());
    c10::IValue value;
    archive.read("identity", value);
    TORCH_CHECK(
        value.toStringRef() == identity(settings),
        "it is of a training with other settings");
    archive.read("net", net);
    archive.read("optimizer", optimizer);
    state.net->load(net);
    state.optimizer.load(optimizer);
    archive.read("epoch", value);
    state.epoch = value.toInt();
    archive.read("loss", value);
    state.loss = value.toDouble();
  } catch (const c10::Error& error) {
    throw std::runtime_error(fmt::format(
        "{}: cannot go on from this checkpoint; --fresh starts anew ({})",
        path.string(),
        error.what_without_backtrace()));
  }
}

/// One pass over the pictures, in an order of its own; returns the mean loss.
double train_epoch(
    State& state,
    const UNetSettings& settings,
    const std::vector<Lesion>& lesions,
    common::Progress& progress) {
  common::Random random(common::mix(
      {static_cast<uint64_t>(settings.seed),
       static_cast<uint64_t>(state.epoch)}));
  std::vector<size_t> order(lesions.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
  }
  random.shuffle(order);
  const auto progressed =
      static_cast<double>(state.epoch) / static_cast<double>(settings.epochs);
  for (auto& group : state.optimizer.param_groups()) {
    group.options().set_lr(
        settings.lr * 0.5 * (1 + std::cos(M_PI * progressed)));
  }
  state.net->train();
  const auto batch = static_cast<size_t>(settings.batch);
  double sum = 0;
  for (size_t from = 0; from < order.size(); from += batch) {
    std::vector<torch::Tensor> images, masks;
    for (size_t i = from; i < std::min(from + batch, order.size()); ++i) {
      std::vector<int64_t> flips; // of [C, H, W]
      for (const int64_t dim : {1, 2}) {
        if (random.chance(0.5)) {
          flips.push_back(dim);
        }
      }
      const auto& lesion = lesions[order[i]];
      images.push_back(lesion.image.flip(flips));
      masks.push_back(lesion.mask.unsqueeze(0).flip(flips));
    }
    const auto input = torch::stack(images).to(torch::kFloat) / 255;
    const auto each = losses(state.net(input), torch::stack(masks));
    state.optimizer.zero_grad();
    each.mean().backward();
    state.optimizer.step();
    const auto loss = each.sum().item<double>();
    if (!std::isfinite(loss)) {
      throw std::runtime_error(
          "the training loss is no longer finite; try a smaller --lr");
    }
    sum += loss;
    progress.advance(static_cast<int64_t>(images.size()));
  }
  return sum / static_cast<double>(order.size());
}

} // namespace

void save_unet(const fs::path& path, const TrainedUNet& trained) {
  torch::serialize::OutputArchive archive, net;
  trained.net->save(net);
  archive.write("net", net);
  archive.write("width", c10::IValue(trained.net->options.width));
  archive.write("depth", c10::IValue(trained.net->options.depth));
  archive.write("input_height", c10::IValue(trained.size.height));
  archive.write("input_width", c10::IValue(trained.size.width));
  std::ostringstream bytes;
  archive.save_to(bytes);
  common::write_atomically(path, bytes.str());
}

TrainedUNet load_unet(const fs::path& path) {
  try {
    torch::serialize::InputArchive archive, net;
    archive.load_from(path.string());
    const auto number = [&](const char* name) {
      c10::IValue value;
      archive.read(name, value);
      return value.toInt();
    };
    UNetOptions options;
    options.width = number("width");
    options.depth = number("depth");
    TrainedUNet trained;
    trained.net = UNet(options);
    trained.size = {number("input_height"), number("input_width")};
    archive.read("net", net);
    trained.net->load(net);
    trained.net->eval();
    return trained;
  } catch (const c10::Error& error) {
    throw std::runtime_error(fmt::format(
        "{}: expected a network that train_unet wrote ({})",
        path.string(),
        error.what_without_backtrace()));
  }
}

UNetOutcome train_unet(const UNetSettings& settings) {
  const auto all = common::read_manifest(settings.data);
  common::check_labels(all, settings.exclude);
  if (settings.leave_fold >= 0 &&
      std::none_of(all.begin(), all.end(), [&](const Record& record) {
        return record.fold == settings.leave_fold;
      })) {
    throw std::invalid_argument(fmt::format(
        "--leave-fold: expected a fold of {}, but none is {}",
        settings.data,
        settings.leave_fold));
  }
  check_masks(settings, all);
  std::vector<Record> train, left_out;
  for (const auto& record : all) {
    const bool excluded =
        std::count(
            settings.exclude.begin(), settings.exclude.end(), record.label) > 0;
    const bool left = excluded ||
        (settings.leave_fold >= 0 && record.fold == settings.leave_fold);
    if (!left) {
      train.push_back(record);
    } else if (
        settings.masks.empty() || fs::exists(mask_file(settings, record))) {
      left_out.push_back(record); // only those with a mask can be scored
    }
  }
  if (train.empty()) {
    throw std::invalid_argument(fmt::format(
        "{}: expected pictures to learn from, but all {} are left out",
        settings.data,
        all.size()));
  }
  const auto lesions = load(settings, train);
  const auto others = load(settings, left_out); // before a long training

  torch::manual_seed(static_cast<uint64_t>(settings.seed));
  UNet net(settings.net);
  State state{
      net,
      torch::optim::Adam(
          net->parameters(), torch::optim::AdamOptions(settings.lr))};
  const fs::path checkpoint = settings.out + ".checkpoint";
  if (settings.fresh) {
    fs::remove(checkpoint);
  } else if (fs::exists(checkpoint)) {
    load(state, settings, checkpoint);
  }
  const auto count = static_cast<int64_t>(lesions.size());
  common::Progress progress(
      "U-Net", settings.epochs * count, state.epoch * count);
  while (state.epoch < settings.epochs) {
    state.loss = train_epoch(state, settings, lesions, progress);
    ++state.epoch;
    save(state, settings, checkpoint);
    progress.line(
        fmt::format("epoch {:2}: loss {:.4f}", state.epoch, state.loss));
  }
  progress.finish();
  save_unet(settings.out, {net, settings.size});
  fs::remove(checkpoint);

  UNetOutcome outcome;
  outcome.loss = state.loss;
  outcome.seen = dice_of(net, lesions);
  outcome.unseen = dice_of(net, others);
  return outcome;
}

} // namespace auto_boxes
