// A conditioner in C++17: the words of a text as vectors that their letters say.
//
//   c++ -std=c++17 -O2 -fPIC -shared -I ../../include bag.cpp -o libbag.so
//
// No word list: a word's vector is drawn from its letters, so that equal words have equal vectors and no two words are
// alike. What the plugin shows is that any language will do that can speak C: no exception leaves a function.
#include <algorithm>
#include <musiva/conditioner.h>
#include <exception>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view ID = "org.musiva.bag";

musiva_str str(std::string_view text) { return {text.data(), text.size()}; }

std::string_view view(musiva_str text) { return text.len == 0 ? std::string_view() : std::string_view(text.ptr, text.len); }

struct Bag {
  int64_t length = 12;
  int64_t channels = 64;
};

// Whatever a function throws becomes a status.
template <typename Body> musiva_status guarded(const musiva_call *call, Body body) {
  try {
    return body();
  } catch (const std::bad_alloc &) {
    return MUSIVA_OUT_OF_MEMORY;
  } catch (const std::exception &error) {
    call->fail(call, str(error.what()));
    return MUSIVA_INTERNAL;
  } catch (...) {
    return MUSIVA_INTERNAL;
  }
}

// The number after "key": in a flat object that the host has held against the schema.
int64_t number(std::string_view json, std::string_view key, int64_t otherwise) {
  const auto quoted = '"' + std::string(key) + '"';
  auto at = json.find(quoted);
  if (at == std::string_view::npos) return otherwise;
  at = json.find_first_of("0123456789", at + quoted.size());
  int64_t value = 0;
  for (; at < json.size() && json[at] >= '0' && json[at] <= '9' && value < 1000000; at++) value = value * 10 + (json[at] - '0');
  return value;
}

std::vector<std::string_view> words(std::string_view text) {
  std::vector<std::string_view> all;
  for (std::size_t start = 0; start < text.size();) {
    const auto end = std::min(text.find(' ', start), text.size());
    if (end > start) all.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return all;
}

// Numbers of mean 0 and deviation 1 that follow from a word (splitmix64 from an FNV-1a hash).
void draw(std::string_view word, float *out, int64_t count) {
  uint64_t state = 0xcbf29ce484222325u;
  for (const unsigned char letter : word) state = (state ^ letter) * 0x100000001b3u;
  for (int64_t i = 0; i < count; i++) {
    state += 0x9e3779b97f4a7c15u;
    auto mixed = state;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    mixed ^= mixed >> 31;
    // Uniform in [-sqrt 3, sqrt 3).
    out[i] = static_cast<float>((static_cast<double>(mixed >> 11) * 0x1p-53 * 2.0 - 1.0) * 1.7320508075688772);
  }
}

const Bag &bag(const musiva_instance *self) { return *reinterpret_cast<const Bag *>(self); }

extern "C" musiva_status describe(const musiva_instance *self, const musiva_call *call) {
  return guarded(call, [&] {
    const auto json = "{\"length\": " + std::to_string(bag(self).length) +
                      ", \"channels\": " + std::to_string(bag(self).channels) + "}";
    return call->text(call, 0, str(json));
  });
}

extern "C" musiva_status encode(musiva_instance *self, const musiva_call *call, size_t count, const musiva_str *texts) {
  return guarded(call, [&] {
    const auto [length, channels] = bag(self);
    const int64_t sides[3] = {static_cast<int64_t>(count), length, channels};
    musiva_tensor *embeddings = nullptr, *mask = nullptr;
    if (auto status = call->output(call, 0, {MUSIVA_DTYPE_FLOAT, 32, 1}, 3, sides, &embeddings); status != MUSIVA_OK)
      return status;
    if (auto status = call->output(call, 1, {MUSIVA_DTYPE_UINT, 8, 1}, 2, sides, &mask); status != MUSIVA_OK)
      return status;
    auto *vector = static_cast<float *>(embeddings->data);
    auto *bit = static_cast<uint8_t *>(mask->data);
    for (size_t i = 0; i < count; i++, vector += length * channels, bit += length) {
      int64_t place = 0;
      for (const auto word : words(view(texts[i]))) {
        if (place == length) break;
        draw(word, vector + place * channels, channels);
        bit[place++] = 1;
      }
    }
    return musiva_status{MUSIVA_OK};
  });
}

extern "C" musiva_status config_schema(const musiva_call *call, musiva_str) {
  return call->text(call, 0, str(R"({"type": "object", "properties": {
    "length": {"type": "integer", "minimum": 1, "maximum": 4096, "default": 12, "description": "Words of a text."},
    "channels": {"type": "integer", "minimum": 1, "maximum": 16384, "default": 64, "description": "Length of a vector."}
  }})"));
}

extern "C" musiva_status create(const musiva_host *, const musiva_call *call, musiva_str id, musiva_str config,
                                musiva_instance **out) {
  return guarded(call, [&]() -> musiva_status {
    if (view(id) != ID) return MUSIVA_UNSUPPORTED;
    const Bag made = {number(view(config), "length", 12), number(view(config), "channels", 64)};
    if (made.length < 1 || made.length > 4096 || made.channels < 1 || made.channels > 16384) {
      call->fail(call, str("`length` or `channels` is out of range"));
      return MUSIVA_INVALID_CONFIG;
    }
    *out = reinterpret_cast<musiva_instance *>(new Bag(made));
    return MUSIVA_OK;
  });
}

extern "C" void destroy(musiva_instance *self) { delete reinterpret_cast<Bag *>(self); }

extern "C" const void *get_interface(const musiva_instance *, musiva_str id) {
  static const musiva_conditioner_1 conditioner = {sizeof conditioner, describe, encode};
  return view(id) == MUSIVA_CONDITIONER ? &conditioner : nullptr;
}

#define TEXT(literal) {literal, sizeof(literal) - 1}

const musiva_descriptor descriptor = {
    sizeof descriptor, TEXT("org.musiva.bag"), TEXT("conditioner"), TEXT("0.1.0"),
    TEXT("a vector for each word"), TEXT("MIT OR Apache-2.0"), 0,
};
const musiva_descriptor *const descriptors[] = {&descriptor};

} // namespace

extern "C" {
const musiva_entry musiva_plugin_entry = {
    sizeof musiva_plugin_entry, MUSIVA_ABI_MAJOR, MUSIVA_ABI_MINOR, 1, 0, descriptors,
    config_schema, create, destroy, get_interface,
};
}
