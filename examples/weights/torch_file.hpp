// The files of Python's torch.save(model.state_dict()), to tensors by name.
//
// What a file says is held against its own size before it is believed. So this
// does not use LibTorch's zip reader: with a bit flipped in a file of 3 kB that
// one fills 4 GB (LibTorch 1.13), or 11 (2.13).
// SPDX-License-Identifier: Apache-2.0
#ifndef CARE_EXAMPLES_WEIGHTS_TORCH_FILE_HPP
#define CARE_EXAMPLES_WEIGHTS_TORCH_FILE_HPP

#include "pickle.hpp"

#include <torch/types.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace weights {
namespace detail {

/// The first pickle of the format before PyTorch 1.6: its magic number.
inline constexpr string_view kOldMagic(
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.",
    15);

using Records = std::map<string_view, string_view>;

/// The records of a zip archive by name, without the folder that all lie in.
/// torch.save compresses nothing.
inline Records zip_records(string_view file) {
  const auto found = file.rfind("PK\5\6");
  TORCH_CHECK_VALUE(
      found != file.npos, "expected the zip archive's end, but got none");
  const auto end = Bytes(file.substr(found)).take(22);
  const auto start = number_at<uint32_t>(end, 16);
  TORCH_CHECK_VALUE(start != 0xffffffff, "expected an archive below 4 GB");
  Bytes directory(file);
  directory.take(start);
  Records records;
  for (int i = 0; i < number_at<uint16_t>(end, 10); ++i) {
    const auto entry = directory.take(46);
    const auto size = number_at<uint32_t>(entry, 24);
    const auto name = directory.take(number_at<uint16_t>(entry, 28));
    directory.take(number_at<uint16_t>(entry, 30)); // extra fields
    directory.take(number_at<uint16_t>(entry, 32)); // a comment
    Bytes record(file);
    record.take(number_at<uint32_t>(entry, 42));
    const auto header = record.take(30);
    record.take(number_at<uint16_t>(header, 26)); // the name again
    record.take(number_at<uint16_t>(header, 28)); // extra fields
    TORCH_CHECK_VALUE(
        entry.substr(0, 4) == "PK\1\2" && header.substr(0, 4) == "PK\3\4" &&
            (entry[8] & 1) == 0 && number_at<uint16_t>(entry, 10) == 0 &&
            size == number_at<uint32_t>(entry, 20),
        "expected torch.save's records (not compressed, as TorchScript's are), "
        "but got ",
        name);
    records[name.substr(name.find('/') + 1)] = record.take(size);
  }
  return records;
}

using Items = std::map<string_view, Value>;

inline bool has_tensors(const Items& items) {
  return std::any_of(items.begin(), items.end(), [](const auto& item) {
    return item.second.kind == Kind::kTensor;
  });
}

/// The state_dict: of a checkpoint, which has one among other things, that one.
inline const Items& state_dict_of(const Pickle& pickle, const Value& object) {
  const auto& items = pickle.dictionary(object);
  for (const auto* name : {"state_dict", "model_state_dict", "model"}) {
    const auto found = items.find(name);
    if (found != items.end() && found->second.kind == Kind::kDictionary) {
      const auto& inner = pickle.dictionary(found->second);
      if (has_tensors(inner)) {
        return inner;
      }
    }
  }
  std::string names;
  for (const auto& item : items) {
    names += " " + std::string(item.first);
  }
  TORCH_CHECK_VALUE(
      has_tensors(items),
      "expected a dictionary of tensors, or one as the item state_dict, "
      "model_state_dict or model, but got a dictionary of:",
      names);
  return items;
}

/// The tensors of a state_dict. `bytes_of(key)` finds a storage's numbers. As
/// in Python, tensors that shared a storage share it again.
template <class BytesOf>
Tensors tensors_of(
    const Pickle& pickle,
    const Items& state_dict,
    size_t limit,
    BytesOf&& bytes_of) {
  std::map<string_view, torch::Tensor> storages;
  Tensors tensors;
  for (const auto& [name, value] : state_dict) {
    if (value.kind != Kind::kTensor) {
      continue;
    }
    const auto& view = pickle.view(value);
    const auto size = static_cast<size_t>(view.storage.number) *
        c10::elementSize(view.storage.dtype);
    auto& storage = storages[view.storage.text];
    if (!storage.defined()) {
      const string_view bytes = bytes_of(view.storage.text);
      TORCH_CHECK_VALUE(
          size <= bytes.size() && size <= limit,
          "expected storages apart and whole, but got too few bytes for ",
          name);
      limit -= size; // records may overlap, and a small file claim much
      storage = tensor_of(bytes.substr(0, size), view.storage.dtype);
    }
    TORCH_CHECK_VALUE(
        storage.scalar_type() == view.storage.dtype && storage.nbytes() == size,
        "expected one type and size of a storage, but got two for ",
        name);
    tensors[std::string(name)] =
        storage.as_strided(view.sizes, view.strides, view.offset);
  }
  return tensors;
}

/// The format since PyTorch 1.6: a zip archive with the pickle and a record for
/// each storage.
inline Tensors read_zip(string_view file) {
  auto records = zip_records(file);
  TORCH_CHECK_VALUE(
      records.count("data.pkl") == 1,
      "expected a file of torch.save, but got a zip archive without data.pkl");
  const auto order = records.find("byteorder");
  TORCH_CHECK_VALUE(
      order == records.end() || order->second == "little",
      "expected numbers in little-endian order, but got ",
      order->second);
  Bytes in(records["data.pkl"]);
  Pickle pickle(in, file.size());
  const auto object = pickle.load();
  return tensors_of(
      pickle, state_dict_of(pickle, object), file.size(), [&](string_view key) {
        return records["data/" + std::string(key)];
      });
}

/// The format before: pickles (the magic number, a version, what machine it
/// was, the object, the storages' keys), then the storages, each behind its
/// number of elements.
inline Tensors read_old(string_view file) {
  Bytes in(file.substr(kOldMagic.size()));
  Pickle pickle(in, file.size());
  pickle.load(); // 1001, ever since
  const auto machine = pickle.load();
  const auto& facts = pickle.dictionary(machine);
  const auto order = facts.find("little_endian");
  TORCH_CHECK_VALUE(
      order != facts.end() && order->second.number == 1,
      "expected numbers in little-endian order, but got another");
  const auto object = pickle.load();
  const auto keys = pickle.load();
  std::map<string_view, size_t> element_sizes;
  for (const auto& view : pickle.views()) {
    element_sizes[view.storage.text] = c10::elementSize(view.storage.dtype);
  }
  Records records;
  for (const auto& key : pickle.sequence(keys)) {
    const auto numel = in.number<uint64_t>();
    TORCH_CHECK_VALUE(
        element_sizes.count(key.text) == 1 && numel <= file.size(),
        "expected the storages of the tensors, but got another");
    records[key.text] = in.take(numel * element_sizes[key.text]);
  }
  return tensors_of(
      pickle, state_dict_of(pickle, object), file.size(), [&](string_view key) {
        return records[key];
      });
}

} // namespace detail
} // namespace weights

#endif // CARE_EXAMPLES_WEIGHTS_TORCH_FILE_HPP
