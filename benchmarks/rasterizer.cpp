// What it costs to turn boxes into weights of cells.
// SPDX-License-Identifier: Apache-2.0
//
//   rasterizer [--rounds 25] [--threads 1]
//
// Random boxes on the host, a flat outside, both modes. Against
//   tensors  the library's own path for boxes with a gradient
//   masks    masks painted at the input's size and brought down to cells; of up
//            to 32 boxes, for 10,000 would fill the memory
//   zeros    two tensors of the results' size filled with zeros: the floor
#include "bench.hpp"

#include <care/boxes.hpp>
#include <care/rasterize.hpp>

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <vector>

namespace {

care::Boxes some_boxes(int64_t count, int64_t per_image, int64_t side) {
  const auto s = static_cast<double>(side);
  const auto corner = torch::rand({count, 2}) * (0.6 * s);
  const auto extent = torch::rand({count, 2}) * (0.3 * s) + 0.05 * s;
  return {
      torch::cat({corner, corner + extent}, 1),
      torch::arange(count, torch::kLong).div(per_image, "floor"),
      (count + per_image - 1) / per_image,
      {side, side}};
}

torch::Tensor painted(const care::Boxes& boxes) {
  auto masks = torch::zeros(
      {boxes.num_images(),
       boxes.image_size().height,
       boxes.image_size().width});
  const auto box = boxes.xyxy().to(torch::kLong);
  for (int64_t i = 0; i < boxes.num_boxes(); ++i) {
    const auto* at = box.data_ptr<int64_t>() + 4 * i;
    masks[boxes.image_index().data_ptr<int64_t>()[i]]
        .slice(0, at[1], at[3])
        .slice(1, at[0], at[2])
        .fill_(1);
  }
  return masks;
}

} // namespace

int main(int argc, char** argv) {
  const auto rounds = bench::option(argc, argv, "--rounds", 25);
  const auto threads = bench::set_threads(argc, argv, 1);
  torch::manual_seed(0);
  bench::Report report(
      "rasterizer", fmt::format("{} threads, {} rounds", threads, rounds));
  struct Call {
    int64_t boxes, per_image;
  };
  struct Sizes {
    int64_t input, map;
  };
  for (const auto& sizes : {Sizes{224, 7}, Sizes{1024, 32}}) {
    for (const auto mode :
         {care::RasterMode::kAdjoint, care::RasterMode::kCoverage}) {
      for (const auto& call :
           {Call{1, 1}, Call{32, 1}, Call{10000, 1}, Call{10000, 4}}) {
        const auto boxes = some_boxes(call.boxes, call.per_image, sizes.input);
        const care::Size size{sizes.map, sizes.map};
        const auto options = care::RasterizeOptions().mode(mode);
        const bool many = call.boxes > 32;
        // A call of microseconds is timed by the hundred.
        const int64_t calls = many ? 1 : 100;
        const auto times = [calls](const std::function<void()>& work) {
          return [calls, work] {
            for (int64_t i = 0; i < calls; ++i) {
              work();
            }
          };
        };
        std::vector<std::function<void()>> works = {
            times([&] { care::rasterize(boxes, size, options); }),
            times([&] {
              care::detail::rasterize_by_tensors(boxes, size, options);
            }),
            times([&] {
              const auto inside =
                  torch::zeros({boxes.num_images(), size.height, size.width});
              const auto outside = torch::zeros_like(inside);
            })};
        const auto contest = bench::in_turns(rounds, works);
        double masks = 0;
        if (!many) {
          masks = bench::in_turns(
                      3,
                      {works[0],
                       [&] { care::rasterize(painted(boxes), size, options); }})
                      .ratio(1, 0) *
              static_cast<double>(calls);
        }
        const double seconds = contest.median(0) / static_cast<double>(calls);
        report.add(
            {{"input", sizes.input},
             {"map", sizes.map},
             {"mode",
              mode == care::RasterMode::kAdjoint ? "paper" : "coverage"},
             {"boxes", call.boxes},
             {"images", boxes.num_images()},
             {"us_a_call", 1e6 * seconds},
             {"million_boxes_a_s",
              1e-6 * static_cast<double>(call.boxes) / seconds},
             {"tensors/ours", contest.ratio(1, 0)},
             {"masks/ours",
              many ? bench::Report::Row("-") : bench::Report::Row(masks)},
             {"ours/zeros", contest.ratio(0, 2)}});
      }
    }
  }
  report.print();
}
