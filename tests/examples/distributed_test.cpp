// Tests of data parallel training: equal to one process, and when one is lost.
// SPDX-License-Identifier: Apache-2.0
#include "support/files.hpp"
#include "support/program.hpp"
#include "support/support.hpp"

#include "distributed/launch.hpp"
#include "distributed/parallel.hpp"
#include "networks/by_name.hpp"
#include "resnet_trainer/picture.hpp"
#include "weights/weights.hpp"

#include <care/guide.hpp>

#include <torch/optim/sgd.h>

#include <array>
#include <chrono>
#include <filesystem>
#include <future>
#include <memory>
#include <string>
#include <vector>

namespace F = torch::nn::functional;
namespace fs = std::filesystem;

namespace {

using care_test::contains;
using care_test::Folder;

/// 48 pictures, guided ones unevenly: none in the last quarter of any batch.
struct Data {
  Data() {
    torch::manual_seed(3);
    images = torch::rand({48, 3, 32, 32}, torch::kDouble);
    std::vector<std::vector<std::array<double, 4>>> lists(48);
    for (int64_t i = 0; i < 48; ++i) {
      const auto place = static_cast<size_t>(i);
      if (i % 8 < 6 && i % 5 == 0) {
        lists[place] = {{4, 4, 20, static_cast<double>(8 + i % 16)}};
      }
    }
    boxes = care::Boxes::from_lists(lists, {32, 32});
    targets = torch::arange(48) % 3;
  }
  torch::Tensor images, targets;
  care::Boxes boxes = care::Boxes::none(1, {32, 32});
};

struct Net : torch::nn::Module {
  explicit Net(int64_t seed) {
    register_module("first", first);
    register_module("second", second);
    register_module("head", head);
    to(torch::kDouble);
    torch::NoGradGuard no_grad; // threads share one generator: none is used
    for (auto& p : parameters()) {
      p.copy_((1.7 * torch::arange(p.numel(), torch::kDouble) + seed)
                  .sin()
                  .mul(0.3)
                  .view(p.sizes()));
    }
  }
  torch::Tensor forward(const torch::Tensor& x) {
    return head(second(first(x).relu()).relu().mean({2, 3}));
  }
  torch::nn::Conv2d first{torch::nn::Conv2dOptions(3, 6, 3).stride(2)};
  torch::nn::Conv2d second{torch::nn::Conv2dOptions(6, 8, 3).stride(2)};
  torch::nn::Linear head{8, 3};
};

/// Parameters after 20 steps with batches of 8; `ranks`: of this process.
std::vector<torch::Tensor> train(const Data& data, parallel::Ranks* ranks) {
  const int64_t size = ranks != nullptr ? ranks->size() : 1;
  const int64_t rank = ranks != nullptr ? ranks->rank() : 0;
  const auto net =
      std::make_shared<Net>(1 + rank); // broadcast makes them alike
  if (ranks != nullptr) {
    ranks->broadcast(*net);
  }
  torch::optim::SGD optimizer(
      net->parameters(), torch::optim::SGDOptions(0.1).momentum(0.9));
  const care::Guide guide(care::GuideOptions().sum_over_ranks(
      ranks != nullptr ? ranks->summing() : care::SumOverRanks()));
  for (int64_t step = 0; step < 20; ++step) {
    const int64_t count = 8 / size;
    const int64_t from = (step * 8) % 48 + rank * count;
    const auto rows = torch::arange(from, from + count);
    const auto target = data.targets.index_select(0, rows);
    const auto seen = guide.watch(net, data.images.index_select(0, rows));
    optimizer.zero_grad();
    guide
        .loss(
            F::cross_entropy(seen.logits, target),
            seen,
            target,
            data.boxes.select(rows))
        .backward();
    if (ranks != nullptr) {
      ranks->average_gradients(*net);
    }
    optimizer.step();
  }
  return net->parameters();
}

/// A set of 24 pictures, half of them rare with a box.
fs::path write_set(const Folder& folder) {
  std::string csv = "path,label,xmin,ymin,xmax,ymax,split\n";
  for (int i = 0; i < 24; ++i) {
    const auto name = std::to_string(i) + ".png";
    cv::Mat picture(32, 32, CV_8UC3, cv::Scalar::all(8 * i));
    const bool rare = i % 2 == 0;
    if (rare) {
      picture(cv::Rect(4, 4, 12, 12)) = cv::Scalar(200, 30, 60);
    }
    trainer::write_picture(folder.path / name, picture);
    csv += name + (rare ? ",rare,4,4,16,16," : ",common,,,,,") +
        (i < 16       ? "train"
             : i < 20 ? "val"
                      : "test") +
        "\n";
  }
  return care_test::write_text(folder.path / "set.csv", csv);
}

std::string arguments(
    const fs::path& data,
    const fs::path& out,
    int epochs,
    int batch = 8) {
  return "--data " + data.string() + " --out " + out.string() +
      " --size 32 --batch " + std::to_string(batch) + " --stage1 1 --stage2 " +
      std::to_string(epochs - 1) +
      " --augment none --threads 1 --guide rare --net mobilenet_v2";
}

/// The program as one of several processes.
std::string as_rank(int rank, int size, uint16_t port) {
  return "env RANK=" + std::to_string(rank) +
      " WORLD_SIZE=" + std::to_string(size) +
      " MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port) +
      " " CARE_DISTRIBUTED;
}

/// The CSV without its last column, the speed.
std::string without_speed(const std::string& csv) {
  std::string text;
  for (size_t from = 0; from < csv.size();) {
    const auto end = csv.find('\n', from);
    text += csv.substr(from, csv.rfind(',', end) - from) + '\n';
    from = end + 1;
  }
  return text;
}

} // namespace

TEST_CASE("distributed: 20 steps on 2 and 4 processes equal one process's") {
  const Data data;
  const auto alone = train(data, nullptr);
  for (const int size : {2, 4}) {
    CAPTURE(size);
    const auto port = parallel::free_port();
    std::vector<std::vector<torch::Tensor>> all(static_cast<size_t>(size));
    // Threads are as good as processes for c10d.
    care_test::in_threads(all.size(), [&](size_t rank) {
      parallel::Ranks ranks(
          {static_cast<int>(rank), size, "127.0.0.1", port},
          std::chrono::seconds(60));
      all[rank] = train(data, &ranks);
      ranks.sum(torch::zeros({1})); // rank 0 keeps the store to the end
    });
    for (const auto& parameters : all) {
      for (size_t i = 0; i < alone.size(); ++i) {
        CHECK(care_test::allclose(parameters[i], alone[i], 1e-9, 1e-5));
      }
    }
  }
}

TEST_CASE("distributed: gradients that some or all processes lack") {
  const auto port = parallel::free_port();
  const std::vector<std::shared_ptr<Net>> nets{
      std::make_shared<Net>(1), std::make_shared<Net>(1)};
  nets[1]->head->bias.mutable_grad() = torch::full({3}, 4.0, torch::kDouble);
  care_test::in_threads(2, [&](size_t rank) {
    parallel::Ranks ranks(
        {static_cast<int>(rank), 2, "127.0.0.1", port},
        std::chrono::seconds(60));
    ranks.average_gradients(*nets[rank]);
    ranks.sum(torch::zeros({1}));
  });
  for (const auto& net : nets) {
    CHECK(net->head->bias.grad()[0].item<double>() == 2);
    CHECK_FALSE(net->head->weight.grad().defined());
  }
}

TEST_CASE("distributed: the program trains, and goes on exactly") {
  const Folder folder;
  const auto data = write_set(folder);
  const auto whole = folder.path / "whole", parts = folder.path / "parts";
  const auto run = [&](const fs::path& out, const std::string& more) {
    return care_test::run_program(
        CARE_DISTRIBUTED, arguments(data, out, 30) + " " + more);
  };
  const auto first = run(whole, "--nproc 2");
  INFO(first.text);
  REQUIRE(first.status == 0);
  CHECK(contains(first.text, "epoch  30"));
  CHECK(fs::exists(whole / "network.safetensors"));
  CHECK(contains(care_test::read_text(whole / "test.txt"), "macro AUC"));

  // One rank is killed in the middle; the other names it and ends.
  const auto port = parallel::free_port();
  const auto log = folder.path / "log";
  const auto training = arguments(data, parts, 30) + " --timeout 60";
  care_test::Child zero(as_rank(0, 2, port), training + " 2> " + log.string());
  care_test::Child one(as_rank(1, 2, port), training);
  REQUIRE(care_test::is_there_soon(parts / "checkpoint.pt"));
  one.kill();
  const auto start = std::chrono::steady_clock::now();
  CHECK(zero.wait() == 1);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(45));
  CHECK_FALSE(fs::exists(parts / "network.safetensors")); // in the middle
  CHECK(contains(care_test::read_text(log), "rank 0: lost rank 1"));

  const auto alone = run(parts, "--nproc 1");
  CHECK(alone.status == 1);
  CHECK(contains(alone.text, "by 2 processes"));
  const auto again = run(parts, "--nproc 2");
  INFO(again.text);
  REQUIRE(again.status == 0);
  CHECK(
      care_test::read_text(parts / "network.safetensors") ==
      care_test::read_text(whole / "network.safetensors"));
  CHECK(
      without_speed(care_test::read_text(parts / "metrics.csv")) ==
      without_speed(care_test::read_text(whole / "metrics.csv")));
}

TEST_CASE("distributed: a last batch of one picture for each waits") {
  const Folder folder;
  const auto data = write_set(folder); // 14 and 2 of 16, on maps of 1 x 1
  const auto outcome = care_test::run_program(
      CARE_DISTRIBUTED,
      arguments(data, folder.path / "out", 2, 14) + " --nproc 2");
  INFO(outcome.text);
  CHECK(outcome.status == 0);
}

TEST_CASE("distributed: each looks through its share of the test") {
  const Folder folder;
  const auto data = write_set(folder);
  care_test::write_text(folder.path / "21.png", "the second to test");
  const auto port = parallel::free_port();
  const auto training = arguments(data, folder.path / "out", 2);
  const auto log = folder.path / "log";
  care_test::Child zero(as_rank(0, 2, port), training);
  care_test::Child one(as_rank(1, 2, port), training + " 2> " + log.string());
  CHECK(one.wait() == 1);
  CHECK(zero.wait() == 1);
  CHECK(contains(care_test::read_text(log), "21.png: expected a picture"));
  CHECK_FALSE(fs::exists(folder.path / "out" / "checkpoint.pt"));
}

TEST_CASE("distributed: the others name the one that is gone") {
  const Folder folder;
  const auto data = write_set(folder);
  const bool hangs = GENERATE(false, true);
  const int lost = hangs ? 1 : 0; // of which the store is
  const int timeout = hangs ? 8 : 60;
  const auto port = parallel::free_port();
  const auto training = arguments(data, folder.path / "out", 500, 9) +
      " --timeout " + std::to_string(timeout);
  const auto log = [&](int rank) {
    return folder.path / ("log" + std::to_string(rank));
  };
  std::vector<std::unique_ptr<care_test::Child>> ranks;
  for (int rank = 0; rank < 3; ++rank) {
    ranks.push_back(std::make_unique<care_test::Child>(
        as_rank(rank, 3, port), training + " 2> " + log(rank).string()));
  }
  REQUIRE(care_test::is_there_soon(folder.path / "out" / "checkpoint.pt"));
  auto& gone = *ranks[static_cast<size_t>(lost)];
  hangs ? gone.stop() : gone.kill();
  const auto start = std::chrono::steady_clock::now();
  for (int rank = 0; rank < 3; ++rank) {
    if (rank != lost) {
      CHECK(ranks[static_cast<size_t>(rank)]->wait() == 1);
      const auto said = care_test::read_text(log(rank));
      INFO(said);
      CHECK(contains(
          said,
          "rank " + std::to_string(rank) + ": lost rank " +
              std::to_string(lost)));
    }
  }
  CHECK(
      std::chrono::steady_clock::now() - start <
      std::chrono::seconds(40 + (hangs ? timeout : 0)));
}

TEST_CASE("distributed: on one process it is finetune") {
  const Folder folder;
  const auto data = write_set(folder);
  const auto file = folder.path / "imagenet.safetensors";
  const std::string net = "efficientnet_lite0"; // BatchNorm's momentum: .01
  torch::manual_seed(0);
  weights::write_safetensors(
      file, {weights::state_dict(*networks::make(net, {5})), {}});
  const auto run = [&](const std::string& program, const std::string& more) {
    const auto out = folder.path / "out";
    fs::remove_all(out);
    const auto outcome = care_test::run_program(
        program,
        "--data " + data.string() + " --out " + out.string() + " --net " + net +
            " --weights " + file.string() +
            " --size 32 --batch 8 --stage1 0 --stage2 2 --threads 1 "
            "--pictures 0 --guide rare --freeze-until _blocks.12 " +
            more);
    INFO(outcome.text);
    REQUIRE(outcome.status == 0);
    const auto said = "differing: _fc.bias: [5] in the file, [2] in the net";
    const auto place = outcome.text.find(said);
    CHECK(place != std::string::npos); // by one of them alone:
    CHECK(outcome.text.find(said, place + 1) == std::string::npos);
    return care_test::read_text(out / "network.safetensors");
  };
  const auto tuned = run(CARE_FINETUNE, "--backbone-rate .5");
  CHECK(run(CARE_DISTRIBUTED, "--backbone-rate .5") == tuned);
  CHECK(run(CARE_DISTRIBUTED, "--backbone-rate .5 --bn-momentum .01") != tuned);
  run(CARE_DISTRIBUTED, "--nproc 2");
}

TEST_CASE("distributed: each fault is one clear error") {
  const Folder folder;
  const auto data = write_set(folder);
  const auto out = folder.path / "out";
  const auto run = [&](const std::string& environment,
                       const std::string& more) {
    const auto outcome = care_test::run_program(
        "env " + environment + " " CARE_DISTRIBUTED,
        arguments(data, out, 2) + " " + more);
    CHECK(outcome.status == 1);
    CHECK_FALSE(fs::exists(out));
    return outcome.text;
  };
  auto port = parallel::free_port();
  const auto at = [&](const std::string& rank_and_size) {
    return rank_and_size +
        " MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(port);
  };
  CHECK(contains(
      run("RANK=0", ""), "WORLD_SIZE: expected it in the environment"));
  CHECK(contains(
      run("WORLD_SIZE=2", ""), "RANK: expected it in the environment"));
  CHECK(contains(
      run("WORLD_SIZE=2", "--nproc 2"), "RANK: expected it in the environ"));
  CHECK(contains(
      run(at("RANK=2 WORLD_SIZE=2"), ""),
      "RANK: expected a number from 0 to 1, but got '2'"));
  CHECK(contains(
      run(at("RANK=1 WORLD_SIZE=2"), "--timeout 1"),
      "MASTER_ADDR: expected rank 0 to answer"));
  CHECK(contains(
      run(at("RANK=0 WORLD_SIZE=2"), "--timeout 1"),
      "expected 2 processes within 1 s, but rank 1 did not come"));
  CHECK(contains(
      run(at("RANK=0 WORLD_SIZE=2"), "--nproc 3 --timeout 1"),
      "--nproc: expected 2 as WORLD_SIZE has it, or none, but got 3"));
  CHECK(contains(
      run("X=1", "--nproc 3"),
      "--batch: expected a multiple of the 3 processes, but got 8"));

  // Rank 0 says how many there are.
  const auto other = parallel::free_port();
  std::string of_first;
  auto first = std::async(std::launch::async, [&] {
    try {
      parallel::Ranks({0, 2, "127.0.0.1", other}, std::chrono::seconds(8));
    } catch (const std::exception& error) {
      of_first = error.what();
    }
  });
  CHECK(contains(
      run("RANK=1 WORLD_SIZE=4 MASTER_ADDR=127.0.0.1 MASTER_PORT=" +
              std::to_string(other),
          "--timeout 5"),
      "WORLD_SIZE: expected 2 as rank 0 has it, but got 4"));
  first.get();
  CHECK(contains(of_first, "rank 1 did not come"));

  // A taken port.
  port = parallel::free_port();
  parallel::Ranks taken({0, 1, "127.0.0.1", port}, std::chrono::seconds(10));
  CHECK(contains(
      run(at("RANK=0 WORLD_SIZE=2"), "--timeout 1"),
      "MASTER_PORT: expected a free port"));
}
