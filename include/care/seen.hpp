// A forward pass as the guide needs it: logits, and the features behind them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SEEN_HPP
#define CARE_SEEN_HPP

#include <torch/types.h>

#include <functional>
#include <vector>

namespace care {

/// A forward pass as the guide needs it: the logits [N, K] and the feature maps
/// [N, C, h, w] they were computed from. Make it by `capture` or
/// `Guide::watch`, or by hand: `care::Seen{logits, features}`.
struct Seen {
  torch::Tensor logits;
  torch::Tensor features;
  /// Maps of further layers, if several were asked for.
  std::vector<torch::Tensor> more = {};
  /// The head with its statistics frozen, features -> logits; empty: the map's
  /// scores are `logits`. See `GuideOptions::frozen_statistics`.
  std::function<torch::Tensor(const torch::Tensor&)> frozen_head = {};
  /// Where several images share one row of logits (the tiles of a bag, crops,
  /// the frames of a video): [G] integers, best on the host, the row of logits
  /// [N, K] that each of the features [G, C, h, w] leads to. Boxes are then
  /// those of the G images, targets those of the N rows. Undefined: image i
  /// leads to row i.
  torch::Tensor rows = {};
};

/// With all that the network returned, where that is not just the logits.
template <class Output>
struct SeenOutput : Seen {
  Output output;
};

} // namespace care

#endif // CARE_SEEN_HPP
