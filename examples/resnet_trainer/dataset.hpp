// Pictures of a manifest in batches, decoded in the data loader's workers.
// SPDX-License-Identifier: Apache-2.0
#ifndef RESNET_TRAINER_DATASET_HPP
#define RESNET_TRAINER_DATASET_HPP

#include "manifest.hpp"

#include <care/boxes.hpp>
#include <care/size.hpp>

#include <torch/data/datasets/base.h>
#include <torch/types.h>

#include <opencv2/core.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace trainer {

/// What the loader hands out; all of it on the host.
struct Batch {
  torch::Tensor images; ///< `[N, 3, H, W]` bytes, RGB
  /// `[N]` int64; of several labels `[N, K]` float, 0 and 1; undefined: without
  /// classes.
  torch::Tensor targets;
  care::Boxes boxes; ///< of N images, in their pixels; those round the masks
  torch::Tensor index; ///< `[N]` int64, places in the dataset
  /// `[N, H, W]` float, the lesion's share of each pixel, 0 in pictures without
  /// a mask; undefined where boxes are the regions.
  torch::Tensor masks = {};
  /// What is wrong with pictures that cannot be read, by their places.
  std::map<int64_t, std::string> faults = {};

  /// `[N, H, W]` float, the lesion's share of each pixel: the masks, else the
  /// filled boxes.
  torch::Tensor lesions() const;
};

/// The row's boxes on its picture of `stored` pixels, cut at the border;
/// weighted by their confidence if they have one and `weigh` says so. Throws
/// std::runtime_error that names the manifest's line for a box outside.
care::Boxes boxes_on(const Row& row, care::Size stored, bool weigh);

/// The place in `classes` of the label that each box speaks for, `[M]` int64;
/// -1: it speaks for all of the picture's.
torch::Tensor box_labels(
    const Row& row,
    const std::vector<std::string>& classes);

struct PicturesOptions {
  care::Size size{224, 224}; ///< pictures are brought to it
  bool weigh_boxes = false; ///< by their confidence; else each counts in full
  bool multi_label = false; ///< [N, K] targets, boxes with labels
  bool cache = false; ///< keep the decoded pictures in memory
  bool masks = false; ///< the regions are the rows' masks, not their boxes
  bool any_mask_size = false; ///< of masks that may be another picture's
  bool empty_masks = false; ///< say that there is no lesion; else an error
  /// A picture that cannot be read is black, without boxes, and one of the
  /// batch's `faults`; else it is an error.
  bool keep_faults = false;
};

/// Whether an epoch of `count` pictures, in steps of `together` of which each
/// process draws `batch`, ends in a single one for each. Then it waits for
/// another epoch: BatchNorm may not be able to learn from one.
inline bool ends_in_one(int64_t count, int64_t together, int64_t batch) {
  return count > together && count % together * batch / together == 1;
}

/// The pictures of `rows`, decoded when they are asked for. The target of a row
/// is the place of its label in `classes`; without classes there are no
/// targets. Boxes and masks are scaled along. Throws std::runtime_error that
/// names the manifest's line for a picture or mask that cannot be read, and for
/// a mask that is empty or of another size (from a loader's worker it arrives
/// as torch::data::WorkerException).
///
///   auto loader = torch::data::make_data_loader(
///       Pictures(rows, classes, {}), sampler,
///       torch::data::DataLoaderOptions(32).workers(2));
class Pictures : public torch::data::datasets::BatchDataset<Pictures, Batch> {
 public:
  Pictures(
      std::vector<Row> rows,
      const std::vector<std::string>& classes,
      const PicturesOptions& options);

  Batch get_batch(torch::ArrayRef<size_t> indices) override;
  torch::optional<size_t> size() const override;

  const std::vector<Row>& rows() const {
    return *rows_;
  }

 private:
  struct Decoded {
    cv::Mat image; // RGB, of the wanted size
    care::Boxes boxes;
    cv::Mat mask = {}; // CV_32F in [0, 1], likewise; empty: none
  };
  struct Cache {
    std::mutex mutex;
    std::map<size_t, Decoded> decoded;
  };
  Decoded decode(size_t index) const;
  Decoded decoded(size_t index) const;
  Decoded black() const;

  // Shared by the copies that the loader's workers hold.
  std::shared_ptr<const std::vector<Row>> rows_;
  std::vector<std::string> classes_;
  torch::Tensor targets_; // of all rows
  PicturesOptions options_;
  std::shared_ptr<Cache> cache_; // empty: none
};

} // namespace trainer

#endif // RESNET_TRAINER_DATASET_HPP
