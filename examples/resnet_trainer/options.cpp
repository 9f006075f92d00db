// The command line of the trainer.
// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

#include "files.hpp"
#include "within.hpp"

#include <fmt/format.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <iostream>
#include <map>
#include <stdexcept>
#include <system_error>

namespace trainer {
namespace {

void add_options(CLI::App& app, Options& o) {
  const auto add = [&](const char* name, auto& value, const char* help) {
    return app.add_option(name, value, help)->capture_default_str();
  };
  const auto number = [&](const char* name,
                          auto& value,
                          double least,
                          double most,
                          const char* help) {
    add(name, value, help)->check(within(least, most));
  };
  const auto names = [&](const char* name, auto& value, const char* help) {
    app.add_option(name, value, help)->allow_extra_args(false);
  };
  const auto flag = [&](const char* name, bool& value, const char* help) {
    app.add_flag(name, value, help)->default_str(value ? "true" : "false");
  };
  constexpr double kMany = 1e9;

  app.add_option("--data", o.data, "a manifest, or a folder for each class")
      ->required()
      ->check(CLI::ExistingPath);
  names("--exclude", o.exclude, "a label to leave out; repeat for more");
  add("--test-fold", o.split.test_fold, "the fold to test");
  number("--test-share", o.split.test_share, .01, .99, "share to test");
  number("--val-share", o.split.val_share, 0, .99, "share to validate with");
  add("--size", o.size, "network input: pixels, or WIDTHxHEIGHT")
      ->delimiter('x')
      ->expected(1, 2)
      ->default_str(std::to_string(o.size.front()))
      ->allow_extra_args(false)
      ->check(CLI::Range(32, 4096));
  add("--regions", o.regions, "where lesions are: the boxes or the masks")
      ->check(CLI::IsMember({"boxes", "masks"}));

  number("--stage1", o.stage1, 0, kMany, "epochs of plain training");
  number("--stage2", o.stage2, 1, kMany, "epochs with the attention loss");
  number("--batch", o.batch, 1, kMany, "images in a batch");
  const std::map<std::string, Optimizer> optimizers{
      {"adamw", Optimizer::kAdamW},
      {"adam", Optimizer::kAdam},
      {"sgd", Optimizer::kSgd}};
  app.add_option("--optimizer", o.optimizer, "adamw; sgd has momentum 0.9")
      ->transform(CLI::CheckedTransformer(optimizers));
  number("--lr", o.lr, 1e-9, 100, "learning rate");
  number("--lr-warmup", o.lr_warmup, 0, kMany, "epochs in which it rises");
  flag("--cosine,!--constant", o.cosine, "how the rate goes on");
  number("--weight-decay", o.weight_decay, 0, 10, "");
  number("--clip", o.clip, 0, kMany, "most of the gradients' norm; 0: any");
  add("--criterion", o.criterion, "ce: one class a picture; bce: several")
      ->check(CLI::IsMember({"ce", "bce"}));
  flag("--class-weights", o.class_weights, "by inverse frequency");
  flag("--balanced", o.balanced, "draw all classes alike");
  flag("--best", o.best, "test the best epoch of stage 2, not the last");
  add("--augment", o.augment, "none, flips or strong")
      ->check(CLI::IsMember({"none", "flips", "strong"}));
  flag("--bfloat16", o.bfloat16, "train under autocast");
  flag("--channels-last,!--channels-first", o.channels_last, "memory order");

  number("--alpha", o.alpha, 0, 1, "(1 - alpha) Lc + alpha La; 0: plain");
  names("--guide", o.guide, "a class to guide; repeat for more; none: all");
  number("--lambda", o.lambda, 0, 1e3, "weight of the outer term");
  number("--tau", o.tau, 1e-6, 1, "attention inside that is enough");
  number("--warmup", o.warmup, 0, kMany, "epochs in which La rises");

  number("--seed", o.seed, 0, kMany, "of all that is drawn, also the parts");
  number("--threads", o.threads, 0, 4096, "0: all cores");
  number("--workers", o.workers, 0, 4096, "threads that decode pictures");
  flag("--cache", o.cache, "keep the decoded pictures in memory");
  add("--device", o.device, "cpu or cuda")
      ->check(CLI::IsMember({"cpu", "cuda"}));
  number("--pictures", o.pictures, 0, 1000, "rows of the attention sheet");
  add("--out", o.out, "folder for everything a run leaves")
      ->check(CLI::ExistingDirectory | CLI::NonexistentPath);
  flag("--fresh", o.fresh, "start anew instead of going on");
  for (const char* name :
       {"--data",
        "--threads",
        "--workers",
        "--cache",
        "--device",
        "--pictures",
        "--out",
        "--fresh"}) {
    app.get_option(name)->group(kNoIdentity);
  }
}

/// What was given, in one spelling: numbers as numbers (but not names that look
/// like one), a square's side once, of a file of weights what is in it.
std::string value_of(const CLI::Option& option) {
  const auto& name = option.get_name();
  auto results = option.results();
  if (name == "--size" && results.front() == results.back()) {
    results.resize(1);
  }
  const bool names =
      name == "--guide" || name == "--exclude" || name == "--test-fold";
  std::string values;
  for (const auto& text : results) {
    char* end = nullptr;
    const double number = std::strtod(text.c_str(), &end);
    const bool is_number = !names && end != text.c_str() && *end == '\0';
    values += values.empty() ? "" : " ";
    values += name == "--weights" ? fingerprint_of_file(text)
        : is_number               ? fmt::format("{}", number)
                                  : text;
  }
  return values;
}

} // namespace

Options parse_options(
    int argc,
    char** argv,
    const char* name,
    const std::function<void(CLI::App&)>& add_own) {
  Options options;
  CLI::App app(
      "Trains a network on pictures with lesion boxes, plainly or with CARE. "
      "For research and education; not a medical device.",
      name);
  add_own(app);
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  const auto* weights = app.get_option_no_throw("--weights");
  std::error_code none_there;
  if (weights != nullptr && weights->count() > 0 &&
      std::filesystem::equivalent(
          weights->as<std::string>(),
          std::filesystem::path(options.out) / "network.safetensors",
          none_there)) {
    std::cerr
        << "--weights: expected a file that this training does not write, "
           "but got "
        << weights->as<std::string>() << '\n';
    std::exit(1);
  }
  options.size.resize(2, options.size.front());
  options.split.seed = static_cast<uint64_t>(options.seed);
  const auto read = [&](const CLI::Option& option) {
    try {
      return value_of(option);
    } catch (const std::exception& error) { // of a file that cannot be read
      std::cerr << name << ": " << error.what() << '\n';
      std::exit(1);
    }
  };
  for (const auto* option : app.get_options()) {
    if (option->count() > 0) {
      options.given.push_back(option->get_name());
      const auto value = read(*option);
      const bool is_default = option->get_name() == "--optimizer"
          ? options.optimizer == Options().optimizer // a number by now
          : value == option->get_default_str();
      if (option->get_group() != kNoIdentity && !is_default) {
        options.identity += option->get_name() + " " + value + "\n";
      }
    }
  }
  return options;
}

void check_effects(const Options& options, const std::vector<Row>& rows) {
  const auto needs = [&](const char* name, bool has, const char* what) {
    const auto& given = options.given;
    if (!has && std::find(given.begin(), given.end(), name) != given.end()) {
      throw std::invalid_argument(
          std::string(name) + ": expected " + what + ", but got none");
    }
  };
  const bool splits = any_has(rows, &Row::split);
  const bool folds = any_has(rows, &Row::fold);
  bool val = false, masks = false;
  for (const auto& row : rows) {
    val = val || row.split == "val";
    masks = masks || !row.mask.empty();
  }
  needs("--test-fold", folds && !splits, "a manifest whose folds divide it");
  needs("--test-share", !folds && !splits, "a manifest that nothing divides");
  needs("--val-share", !val, "a manifest without a validation part");
  needs("--regions", masks || !options.masks(), "a manifest with masks");
  for (const char* name : {"--guide", "--lambda", "--tau", "--warmup"}) {
    needs(name, options.alpha > 0, "an --alpha above 0");
  }
  const auto fits = [](const char* name, int64_t epochs, int64_t most) {
    if (epochs > most) {
      throw std::invalid_argument(fmt::format(
          "{}: expected at most the {} epochs there are, but got {}",
          name,
          most,
          epochs));
    }
  };
  fits("--warmup", options.warmup, options.stage2);
  fits("--lr-warmup", options.lr_warmup, options.stage1 + options.stage2);
  needs("--best", val || options.split.val_share > 0, "a validation part");
  if (folds && !splits && !options.split.test_fold.empty()) {
    check_known(
        "--test-fold", values_of(rows, &Row::fold), {options.split.test_fold});
  }
  if (folds && !splits && options.split.test_fold.empty()) {
    throw std::invalid_argument(
        "--test-fold: expected the fold to test, as the manifest has folds, "
        "but got none");
  }
}

} // namespace trainer
