// The generated lesion set as files: pictures, masks and a manifest.
// SPDX-License-Identifier: Apache-2.0
#include "auto_boxes/generated_set.hpp"

#include "common/files.hpp"
#include "common/page.hpp"
#include "common/parallel.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h> // join
#include <opencv2/imgproc.hpp>

#include <numeric>
#include <string>
#include <vector>

namespace auto_boxes {

namespace fs = std::filesystem;

fs::path write_generated(
    const fs::path& folder,
    const common::GeneratedOptions& options,
    int jobs) {
  const auto manifest = folder / "manifest.csv";
  if (fs::exists(manifest)) {
    return manifest;
  }
  cv::setNumThreads(0); // these threads are ours
  const auto classes = common::generated_classes();
  const auto count = static_cast<size_t>(std::accumulate(
      options.counts.begin(), options.counts.end(), int64_t{0}));
  std::vector<std::string> rows(count);
  common::parallel_for(count, jobs, [&](size_t i) {
    const auto drawn = common::draw_generated(options, static_cast<int64_t>(i));
    const auto name = fmt::format("{:05}.png", i);
    cv::Mat mask;
    cv::cvtColor(drawn.mask, mask, cv::COLOR_GRAY2RGB);
    common::write_picture(folder / "images" / name, drawn.image);
    common::write_picture(folder / "masks" / name, mask);
    const auto& box = drawn.box;
    rows[i] = fmt::format(
        "images/{},{},{},{},{},{},{}\n",
        name,
        classes[static_cast<size_t>(drawn.target)],
        box.x,
        box.y,
        box.x + box.width,
        box.y + box.height,
        i % 5);
  });
  common::write_atomically(
      manifest,
      fmt::format(
          "path,label,xmin,ymin,xmax,ymax,fold\n{}", fmt::join(rows, "")));
  return manifest;
}

} // namespace auto_boxes
