// Fine-tunes a pretrained network, plainly or with CARE: the trainer's data,
// loop and files, with another network. What differs stands in model.hpp.
// SPDX-License-Identifier: Apache-2.0
#include "finetune/model.hpp"
#include "resnet_trainer/run.hpp"

#include <CLI/CLI.hpp>

#include <cstdint>

int main(int argc, char** argv) {
  trainer::wait_passively(argv);
  finetune::Options own;
  const auto options =
      trainer::parse_options(argc, argv, "finetune", [&](CLI::App& app) {
        finetune::add_options(app, own);
        app.get_option("--weights")->required();
      });
  return trainer::run_main("finetune", [&] {
    trainer::run(options, [&](int64_t classes) {
      return finetune::make_model(own, options, classes);
    });
  });
}
