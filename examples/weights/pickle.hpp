// Pickles of tensors, read without running them.
//
// A pickle is a program for a small machine with a stack, and may name any
// Python class and call it. This machine knows dictionaries, tensors, numbers
// and strings: what names anything else is refused by that name.
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_WEIGHTS_PICKLE_HPP
#define CARE_EXAMPLES_WEIGHTS_PICKLE_HPP

#include "bytes.hpp"

#include <torch/types.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace weights {

namespace detail {

/// The element type of a class such as torch.FloatStorage; Undefined for every
/// other class.
inline torch::ScalarType storage_dtype(string_view name) {
  const auto* found =
      find_dtype([&](const Dtype& known) { return known.storage == name; });
  return found == nullptr ? torch::ScalarType::Undefined : found->type;
}

enum class Kind {
  kOther, ///< known, but of no use here: None, a float
  kInteger, ///< or a bool
  kString,
  kClass, ///< or a function
  kSequence, ///< a tuple or a list
  kDictionary,
  kStorage,
  kTensor,
};

/// An object of a pickle. Those with contents stand in the pickle's lists: they
/// may hold each other, also themselves, to any depth.
struct Value {
  Kind kind = Kind::kOther;
  int64_t number = 0; ///< an integer; a storage's elements; else place in list
  string_view text = {}; ///< a string; a class's two names; a storage's key
  torch::ScalarType dtype = torch::ScalarType::Undefined; ///< of a storage
};

/// A tensor as a view of its storage, within bounds.
struct View {
  Value storage;
  int64_t offset = 0;
  std::vector<int64_t> sizes = {}, strides = {};
};

/// Reads pickles as torch.save writes them (protocol 2), one after the other.
class Pickle {
 public:
  /// `limit`: the file's size in bytes; no tensor has more elements.
  Pickle(Bytes& in, size_t limit)
      : in_(in),
        limit_(static_cast<double>(limit)) {}

  /// The object of the next pickle.
  Value load() {
    stack_.clear();
    marks_.clear();
    memo_.clear();
    uint8_t code = 0;
    while ((code = in_.number<uint8_t>()) != '.') {
      step(code);
    }
    return pop(1)[0];
  }

  const std::vector<Value>& sequence(const Value& value) const {
    return sequences_[place(value, Kind::kSequence)];
  }
  /// Its items whose keys are strings.
  const std::map<string_view, Value>& dictionary(const Value& value) const {
    return dictionaries_[place(value, Kind::kDictionary)];
  }
  const View& view(const Value& value) const {
    return views_[place(value, Kind::kTensor)];
  }
  const std::deque<View>& views() const {
    return views_;
  }

 private:
  static constexpr string_view kOrderedDict = "collections\nOrderedDict";
  static constexpr string_view kRebuildTensor =
      "torch._utils\n_rebuild_tensor_v2";
  static constexpr string_view kRebuildOldTensor =
      "torch._utils\n_rebuild_tensor";
  static constexpr string_view kRebuildParameter =
      "torch._utils\n_rebuild_parameter";

  static void check(bool good) {
    TORCH_CHECK_VALUE(good, "expected a whole pickle, but got a damaged one");
  }
  static void expect(const Value& value, Kind kind) {
    TORCH_CHECK_VALUE(
        value.kind == kind, "expected a state_dict, but got another pickle");
  }
  static size_t place(const Value& value, Kind kind) {
    expect(value, kind);
    return static_cast<size_t>(value.number);
  }

  /// One instruction; Python's pickletools.py describes each.
  void step(uint8_t code) {
    switch (code) {
      case 0x80: // PROTO
        in_.take(1);
        return;
      case 'N': // NONE
        return push(Kind::kOther);
      case 'G': // BINFLOAT
        in_.take(8);
        return push(Kind::kOther);
      case 0x88: // NEWTRUE
      case 0x89: // NEWFALSE
        return push(Kind::kInteger, code == 0x88);
      case 'K': // BININT1
        return push(Kind::kInteger, in_.number<uint8_t>());
      case 'M': // BININT2
        return push(Kind::kInteger, in_.number<uint16_t>());
      case 'J': // BININT
        return push(Kind::kInteger, in_.number<int32_t>());
      case 0x8a: // LONG1
        return push(Kind::kInteger, long_integer());
      case 'X': // BINUNICODE
        return push(Kind::kString, 0, in_.take(in_.number<uint32_t>()));
      case 'U': // SHORT_BINSTRING (Python 2)
        return push(Kind::kString, 0, in_.take(in_.number<uint8_t>()));
      case 'c': // GLOBAL
        return push_class();
      case ')': // EMPTY_TUPLE
      case ']': // EMPTY_LIST
        return push_sequence({});
      case '(': // MARK
        return marks_.push_back(stack_.size());
      case 't': // TUPLE
        return push_sequence(pop_to_mark());
      case 0x85: // TUPLE1
      case 0x86: // TUPLE2
      case 0x87: // TUPLE3
        return push_sequence(pop(code - size_t{0x84}));
      case 'a': // APPEND
        return append(pop(1));
      case 'e': // APPENDS
        return append(pop_to_mark());
      case '}': // EMPTY_DICT
        return push_dictionary();
      case 's': // SETITEM
        return set_items(pop(2));
      case 'u': // SETITEMS
        return set_items(pop_to_mark());
      case 'b': // BUILD: the attribute _metadata of a state_dict
        pop(1);
        return expect(top(), Kind::kDictionary);
      case 'q': // BINPUT
        memo_[in_.number<uint8_t>()] = top();
        return;
      case 'r': // LONG_BINPUT
        memo_[in_.number<uint32_t>()] = top();
        return;
      case 'h': // BINGET
        return push_known(in_.number<uint8_t>());
      case 'j': // LONG_BINGET
        return push_known(in_.number<uint32_t>());
      case 'Q': // BINPERSID
        return push_storage(sequence(pop(1)[0]));
      case 'R': { // REDUCE
        const auto call = pop(2);
        expect(call[0], Kind::kClass);
        return push_result(call[0].text, sequence(call[1]));
      }
      default:
        TORCH_CHECK_VALUE(
            false, "expected pickle protocol 2, but got the opcode ", +code);
    }
  }

  void push(Kind kind, int64_t number = 0, string_view text = {}) {
    stack_.push_back({kind, number, text});
  }
  void push_sequence(std::vector<Value> values) {
    push(Kind::kSequence, static_cast<int64_t>(sequences_.size()));
    sequences_.push_back(std::move(values));
  }
  void push_dictionary() {
    push(Kind::kDictionary, static_cast<int64_t>(dictionaries_.size()));
    dictionaries_.emplace_back();
  }
  void push_known(uint32_t number) {
    const auto found = memo_.find(number);
    check(found != memo_.end());
    stack_.push_back(found->second);
  }

  /// The last `count` above the last mark, in the order they came.
  std::vector<Value> pop(size_t count) {
    const auto floor = marks_.empty() ? 0 : marks_.back();
    check(stack_.size() >= floor + count);
    const auto first = stack_.end() - static_cast<std::ptrdiff_t>(count);
    std::vector<Value> result(first, stack_.end());
    stack_.erase(first, stack_.end());
    return result;
  }
  std::vector<Value> pop_to_mark() {
    check(!marks_.empty() && marks_.back() <= stack_.size());
    auto result = pop(stack_.size() - marks_.back());
    marks_.pop_back();
    return result;
  }
  const Value& top() const {
    check(!stack_.empty());
    return stack_.back();
  }

  void append(const std::vector<Value>& values) {
    auto& list = sequences_[place(top(), Kind::kSequence)];
    list.insert(list.end(), values.begin(), values.end());
  }
  void set_items(const std::vector<Value>& values) {
    auto& dictionary = dictionaries_[place(top(), Kind::kDictionary)];
    for (size_t i = 0; i + 1 < values.size(); i += 2) {
      if (values[i].kind == Kind::kString) {
        dictionary[values[i].text] = values[i + 1];
      }
    }
  }

  int64_t long_integer() {
    const auto bytes = in_.take(in_.number<uint8_t>());
    check(bytes.size() <= 8);
    // The highest bit is the sign.
    const bool negative = !bytes.empty() && (bytes.back() & 0x80) != 0;
    int64_t result = negative ? -1 : 0;
    std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(&result));
    return result;
  }

  void push_class() {
    const auto module = in_.line();
    const auto name = in_.line();
    // Both lines, as they stand in the file.
    const string_view both(module.data(), module.size() + 1 + name.size());
    TORCH_CHECK_VALUE(
        both == kOrderedDict || both == kRebuildTensor ||
            both == kRebuildOldTensor || both == kRebuildParameter ||
            storage_dtype(both) != torch::ScalarType::Undefined,
        "expected tensors, numbers, strings and dictionaries, but got ",
        std::string(module.substr(0, 100)) + "." +
            std::string(name.substr(0, 100)));
    push(Kind::kClass, 0, both);
  }

  /// ("storage", class, key, device, elements[, None])
  void push_storage(const std::vector<Value>& id) {
    TORCH_CHECK_VALUE(
        (id.size() == 5 || (id.size() == 6 && id[5].kind == Kind::kOther)) &&
            id[0].text == "storage" && id[2].kind == Kind::kString &&
            id[4].kind == Kind::kInteger,
        "expected a storage, but got another persistent object");
    const auto dtype = storage_dtype(id[1].text);
    const auto numel = id[4].number;
    TORCH_CHECK_VALUE(
        dtype != torch::ScalarType::Undefined && numel >= 0 &&
            static_cast<double>(numel) <= limit_,
        "expected storages that fit into the file, but got elements: ",
        numel);
    stack_.push_back({Kind::kStorage, numel, id[2].text, dtype});
  }

  /// What one of the few functions returns.
  void push_result(string_view name, const std::vector<Value>& arguments) {
    const auto count = arguments.size();
    if (name == kOrderedDict && count == 0) {
      return push_dictionary();
    }
    if (name == kRebuildParameter && count == 3) { // (tensor, ...)
      return stack_.push_back(arguments[0]);
    }
    TORCH_CHECK_VALUE(
        (name == kRebuildTensor && count == 6) ||
            (name == kRebuildOldTensor && count == 4),
        "expected the arguments of a plain tensor, but got ",
        count,
        " others");
    push_view(arguments);
  }

  /// (storage, offset, sizes, strides, ...)
  void push_view(const std::vector<Value>& arguments) {
    expect(arguments[0], Kind::kStorage);
    expect(arguments[1], Kind::kInteger);
    View view{arguments[0], arguments[1].number};
    const auto integers = [this](const Value& value) {
      std::vector<int64_t> result;
      for (const auto& number : sequence(value)) {
        expect(number, Kind::kInteger);
        result.push_back(number.number);
      }
      return result;
    };
    view.sizes = integers(arguments[2]);
    view.strides = integers(arguments[3]);
    bool good = sizes_fit(view.sizes, limit_) && view.offset >= 0 &&
        view.offset <= view.storage.number &&
        view.sizes.size() == view.strides.size();
    bool empty = false;
    auto last = static_cast<double>(view.offset); // as a double: no overflow
    for (size_t i = 0; good && i < view.sizes.size(); ++i) {
      good = view.strides[i] >= 0;
      empty = empty || view.sizes[i] == 0;
      last += static_cast<double>(view.sizes[i] - 1) *
          static_cast<double>(view.strides[i]);
    }
    TORCH_CHECK_VALUE(
        good && (empty || last < static_cast<double>(view.storage.number)),
        "expected tensors within their storage, but got one outside");
    push(Kind::kTensor, static_cast<int64_t>(views_.size()));
    views_.push_back(std::move(view));
  }

  Bytes& in_;
  double limit_;
  std::vector<Value> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, Value> memo_;
  std::deque<std::vector<Value>> sequences_;
  std::deque<std::map<string_view, Value>> dictionaries_;
  std::deque<View> views_;
};

} // namespace detail
} // namespace weights

#endif // CARE_EXAMPLES_WEIGHTS_PICKLE_HPP
