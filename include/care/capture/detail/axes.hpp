// What the axes of a tensor run along: images, channels, rows, columns.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_CAPTURE_DETAIL_AXES_HPP
#define CARE_CAPTURE_DETAIL_AXES_HPP

#include <c10/util/ArrayRef.h>
#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace care::detail {

/// What a stretch of an axis counts: images (N), rows (H) or columns (W) of a
/// map, anything else (C), or what cannot be told.
enum class Role : char {
  kN = 'N',
  kC = 'C',
  kH = 'h',
  kW = 'w',
  kUnknown = '?'
};

/// A mixed-radix digit of an axis. An axis of 12 rows is one digit of 12; a
/// view as [3, 4] splits it into a digit of 3 that counts in steps of 4 (and
/// leads), and one of 4 in steps of 1.
struct Digit {
  Role role = Role::kUnknown;
  int64_t size = 1;
  int64_t step = 1;
  bool leads = true;

  bool operator==(const Digit& other) const {
    return role == other.role && size == other.size && step == other.step &&
        leads == other.leads;
  }
};

/// The digits of one axis, the slowest first; none for an axis of size 1 or 0.
using Axis = std::vector<Digit>;
using Axes = std::vector<Axis>;

/// An axis that runs along one thing alone.
inline Axis axis_of(Role role, int64_t size) {
  return size <= 1 ? Axis() : Axis{Digit{role, size, 1, true}};
}

/// [N, C, h, w] with more than one cell.
inline bool is_map_size(torch::IntArrayRef sizes) {
  return sizes.size() == 4 && sizes[2] * sizes[3] > 1;
}

/// Axes of which nothing is known.
inline Axes unknown_axes(torch::IntArrayRef sizes) {
  Axes axes;
  for (const auto size : sizes) {
    axes.push_back(axis_of(Role::kUnknown, size));
  }
  return axes;
}

/// The axes that a convolution's result has, [N, C, h, w] or [N, C, D, h, w].
inline Axes image_axes(torch::IntArrayRef sizes) {
  auto axes = unknown_axes(sizes);
  const auto rank = sizes.size();
  for (size_t i = 0; rank >= 4 && i < rank; ++i) {
    const auto role = i == 0 ? Role::kN
        : i == rank - 2      ? Role::kH
        : i == rank - 1      ? Role::kW
                             : Role::kC;
    axes[i] = axis_of(role, sizes[i]);
  }
  return axes;
}

/// What an axis is as a whole: the role of its leading digit. Unknown where a
/// digit is, or where two of images, rows and columns are merged in it (tokens,
/// of which `axes_text` tells). C where no digit leads: a part of a split axis.
inline Role role_of(const Axis& axis) {
  auto role = Role::kC;
  for (const auto& digit : axis) {
    const bool counts = digit.leads && digit.role != Role::kC;
    if (digit.role == Role::kUnknown || (counts && role != Role::kC)) {
      return Role::kUnknown;
    }
    if (counts && &digit != &axis.front()) {
      return Role::kUnknown; // such as the rows of each channel in turn
    }
    role = counts ? digit.role : role;
  }
  return role;
}

inline bool is_unknown(const Axis& axis) {
  return std::any_of(axis.begin(), axis.end(), [](const Digit& digit) {
    return digit.role == Role::kUnknown;
  });
}

/// The one axis along which `role` runs, -1 if there is none.
inline int64_t find_axis(const Axes& axes, Role role) {
  const auto found =
      std::find_if(axes.begin(), axes.end(), [&](const Axis& axis) {
        return role_of(axis) == role;
      });
  return found == axes.end() ? -1 : found - axes.begin();
}

/// Laid out [N, C, h, w]; an axis of size 1 may stand for any.
inline bool is_image_layout(const Axes& axes) {
  const Role wanted[] = {Role::kN, Role::kC, Role::kH, Role::kW};
  size_t i = 0;
  return axes.size() == 4 &&
      std::all_of(axes.begin(), axes.end(), [&](const Axis& axis) {
           const auto role = wanted[i++];
           return axis.empty() || role_of(axis) == role;
         });
}

/// Whether nothing that is known of the axes speaks against [N, h, w, C].
inline bool may_be_channels_last(const Axes& axes) {
  const Role wanted[] = {Role::kN, Role::kH, Role::kW, Role::kC};
  size_t i = 0;
  return axes.size() == 4 &&
      std::all_of(axes.begin(), axes.end(), [&](const Axis& axis) {
           const auto role = wanted[i++];
           return axis.empty() || is_unknown(axis) || role_of(axis) == role;
         });
}

/// "[N, h, w, C]", "[N, C, hw, C]"; "1" for an axis of one, "?" where unknown.
inline std::string axes_text(const Axes& axes) {
  std::string text;
  for (const auto& axis : axes) {
    std::string name;
    for (const auto& digit : axis) {
      const bool known = digit.role != Role::kUnknown;
      const auto role = known && !digit.leads ? Role::kC : digit.role;
      if (role != Role::kC || name.empty()) {
        name += static_cast<char>(role);
      }
    }
    text += (text.empty() ? "" : ", ") + (name.empty() ? "1" : name);
  }
  return "[" + text + "]";
}

/// Puts digits that a view parted together again.
inline void merge_digits(Axis& axis) {
  Axis merged;
  for (const auto& digit : axis) {
    if (!merged.empty() && merged.back().role == digit.role &&
        digit.role != Role::kUnknown && !digit.leads &&
        merged.back().step == digit.step * digit.size) {
      merged.back().size *= digit.size;
      merged.back().step = digit.step;
    } else {
      merged.push_back(digit);
    }
  }
  axis = std::move(merged);
}

/// A view's axes: the same digits in the same order, dealt out anew.
inline Axes regrouped(const Axes& axes, torch::IntArrayRef sizes) {
  std::vector<Digit> digits; // the next one last
  for (auto axis = axes.rbegin(); axis != axes.rend(); ++axis) {
    digits.insert(digits.end(), axis->rbegin(), axis->rend());
  }
  Axes result;
  for (const auto size : sizes) {
    Axis axis;
    int64_t missing = size;
    while (missing > 1) {
      if (digits.empty()) {
        return unknown_axes(sizes);
      }
      auto digit = digits.back();
      digits.pop_back();
      if (digit.size > missing) { // the leading part of it goes here
        if (digit.size % missing != 0) {
          return unknown_axes(sizes);
        }
        auto rest = digit;
        rest.size = digit.size / missing;
        rest.leads = false;
        digit.size = missing;
        digit.step *= rest.size;
        digits.push_back(rest);
      }
      if (missing % digit.size != 0) {
        return unknown_axes(sizes);
      }
      missing /= digit.size;
      axis.push_back(digit);
    }
    merge_digits(axis);
    result.push_back(std::move(axis));
  }
  return digits.empty() ? result : unknown_axes(sizes);
}

/// Where in memory a tensor's axes lie.
struct Geometry {
  std::vector<int64_t> sizes;
  std::vector<int64_t> strides;

  bool is_contiguous() const {
    int64_t step = 1;
    for (size_t i = sizes.size(); i-- > 0; step *= sizes[i]) {
      if (sizes[i] != 1 && strides[i] != step) {
        return false;
      }
    }
    return true;
  }
};

/// The axes of a view that permutes them: each is found by size and stride. One
/// that could be either of two is unknown; all are where one is none of them.
inline Axes permuted(
    const Axes& axes,
    const Geometry& from,
    const Geometry& to) {
  Axes result;
  std::vector<bool> taken(axes.size(), false);
  for (size_t i = 0; i < to.sizes.size(); ++i) {
    auto found = axes.size();
    bool sure = true;
    for (size_t j = 0; j < axes.size(); ++j) {
      if (to.sizes[i] != 1 && from.sizes[j] == to.sizes[i] &&
          from.strides[j] == to.strides[i]) {
        sure = sure && (found == axes.size() || axes[j] == axes[found]);
        found = found == axes.size() || taken[found] ? j : found;
      }
    }
    if (to.sizes[i] != 1 && found == axes.size()) {
      return unknown_axes(to.sizes);
    }
    if (to.sizes[i] == 1) {
      result.emplace_back();
    } else {
      taken[found] = true;
      result.push_back(
          sure ? axes[found] : axis_of(Role::kUnknown, to.sizes[i]));
    }
  }
  return result;
}

/// The axes of a result with as many as its input: the same ones, some longer
/// or shorter (sliced, padded, pooled). But sizes that are the input's in
/// another order betray that axes changed places.
inline Axes kept(
    const Axes& axes,
    torch::IntArrayRef from,
    torch::IntArrayRef to) {
  if (from != to && std::is_permutation(from.begin(), from.end(), to.begin())) {
    return unknown_axes(to);
  }
  const auto standard =
      is_image_layout(axes) ? image_axes(to) : unknown_axes(to);
  Axes result;
  for (size_t i = 0; i < to.size(); ++i) {
    const auto& axis = axes[i];
    result.push_back(
        from[i] == to[i]   ? axis
            : axis.empty() ? standard[i]
                           : axis_of(role_of(axis), to[i]));
  }
  return result;
}

/// The axes of a result with fewer or more of them (a sum, a stack): told by
/// their sizes, and unknown where these leave a choice. The first one stays if
/// it can. A new axis is one of channels.
inline Axes embedded(
    const Axes& axes,
    torch::IntArrayRef from,
    torch::IntArrayRef to) {
  const bool fewer = to.size() < from.size();
  const auto less = fewer ? to : from;
  const auto more = fewer ? from : to;
  Axes result;
  // Each way to find the sizes of `less` among those of `more`, in order.
  std::vector<size_t> places(less.size());
  const std::function<void(size_t)> choose = [&](size_t i) {
    if (i < less.size()) {
      for (auto j = i == 0 ? 0 : places[i - 1] + 1; j < more.size(); ++j) {
        if (more[j] == less[i]) {
          places[i] = j;
          choose(i + 1);
        }
        if (i == 0 && !result.empty()) {
          break; // the first one stays
        }
      }
      return;
    }
    Axes found;
    for (const auto size : to) {
      found.push_back(axis_of(Role::kC, size));
    }
    for (size_t k = 0; k < places.size(); ++k) {
      found[fewer ? k : places[k]] = axes[fewer ? places[k] : k];
    }
    for (size_t k = 0; k < result.size(); ++k) {
      if (!(result[k] == found[k])) {
        result[k] = axis_of(Role::kUnknown, to[k]);
      }
    }
    result = result.empty() ? found : result;
  };
  choose(0);
  return result.empty() ? unknown_axes(to) : result;
}

} // namespace care::detail

#endif // CARE_CAPTURE_DETAIL_AXES_HPP
