// A forward pass as the guide needs it: logits, and the features behind them.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_SEEN_HPP
#define CARE_SEEN_HPP

#include <care/map_layout.hpp>

#include <torch/types.h>

#include <cstddef>
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
  /// How the network keeps `features`, then each of `more`, which stay as they
  /// are: tokens, [N, h, w, C]. Where none is given, [N, C, h, w].
  std::vector<MapLayout> layouts = {};

  /// That of `features` (0), of `more[0]` (1), ...
  MapLayout layout(size_t layer = 0) const {
    return layer < layouts.size() ? layouts[layer] : MapLayout();
  }
};

/// With all that the network returned, where that is not just the logits.
template <class Output>
struct SeenOutput : Seen {
  Output output;
};

} // namespace care

#endif // CARE_SEEN_HPP
