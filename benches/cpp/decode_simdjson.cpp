// The rival of the decode bench: the same Binance USD-M messages to the same int64 fields, with simdjson on-demand.
//
// Prices and quantities become 1e-8 integers and are written to an array, as the scanner does. Fields are looked up in
// the order in which the venue sends them, which is the fastest way on-demand offers. The checksum is the sum of all
// integers of a message (wrapping), so that both sides prove that they read the same thing.
#include <simdjson.h>
#include <x86intrin.h>

#include <cstdint>
#include <cstring>
#include <string_view>

using namespace simdjson;

namespace {

int64_t pairs[2 * 16384];
ondemand::parser parser;

bool to_fixed(std::string_view text, int64_t &out) {
  int64_t value = 0;
  size_t i = 0;
  for (; i < text.size() && text[i] != '.'; ++i) {
    unsigned digit = static_cast<unsigned char>(text[i]) - '0';
    if (digit > 9) return false;
    value = value * 10 + digit;
  }
  int decimals = 0;
  for (++i; i < text.size(); ++i, ++decimals) {
    unsigned digit = static_cast<unsigned char>(text[i]) - '0';
    if (digit > 9) return false;
    value = value * 10 + digit;
  }
  if (decimals > 8) return false;
  static const int64_t scale[9] = {100000000, 10000000, 1000000, 100000, 10000, 1000, 100, 10, 1};
  out = value * scale[decimals];
  return true;
}

int64_t symbol_id(std::string_view text, const char *symbol, size_t length) {
  return text.size() == length && std::memcmp(text.data(), symbol, length) == 0 ? 0 : -1;
}

uint64_t levels(ondemand::array array, int64_t *&out, bool &ok) {
  uint64_t sum = 0;
  for (auto row : array) {
    for (auto cell : row.get_array()) {
      std::string_view text = cell.get_string();
      ok &= to_fixed(text, *out);
      sum += static_cast<uint64_t>(*out++);
    }
  }
  return sum;
}

uint64_t integer(ondemand::object &data, const char *key) { return data.find_field(key).get_uint64(); }

uint64_t decimal(ondemand::object &data, const char *key, bool &ok) {
  int64_t value = 0;
  std::string_view text = data.find_field(key).get_string();
  ok &= to_fixed(text, value);
  return static_cast<uint64_t>(value);
}

uint64_t depth(ondemand::object &data, const char *symbol, size_t length, bool &ok) {
  uint64_t sum = integer(data, "E") * 1000000;
  sum += integer(data, "T") * 1000000;
  std::string_view name = data.find_field("s").get_string();
  sum += static_cast<uint64_t>(symbol_id(name, symbol, length));
  sum += integer(data, "U");
  sum += integer(data, "u");
  sum += integer(data, "pu");
  int64_t *out = pairs;
  sum += levels(data.find_field("b").get_array(), out, ok);
  sum += levels(data.find_field("a").get_array(), out, ok);
  return sum;
}

uint64_t ticker(ondemand::object &data, const char *symbol, size_t length, bool &ok) {
  uint64_t sum = integer(data, "u");
  std::string_view name = data.find_field("s").get_string();
  sum += static_cast<uint64_t>(symbol_id(name, symbol, length));
  for (const char *key : {"b", "B", "a", "A"}) sum += decimal(data, key, ok);
  sum += integer(data, "T") * 1000000;
  return sum + integer(data, "E") * 1000000;
}

uint64_t trade(ondemand::object &data, const char *symbol, size_t length, bool &ok) {
  uint64_t sum = integer(data, "E") * 1000000;
  sum += integer(data, "T") * 1000000;
  std::string_view name = data.find_field("s").get_string();
  sum += static_cast<uint64_t>(symbol_id(name, symbol, length));
  sum += integer(data, "t");
  uint64_t price = decimal(data, "p", ok), qty = decimal(data, "q", ok);
  bool accepted = price != 0 && qty != 0;
  std::string_view origin = data.find_field("X").get_string();
  accepted &= origin == "MARKET";
  bool maker = data.find_field("m").get_bool();
  return sum + price + qty + (accepted ? 1 : 0) + (maker ? 1 : 0);
}

}  // namespace

extern "C" {

const char *simdjson_build() { return SIMDJSON_STRINGIFY(SIMDJSON_VERSION_MAJOR) "." SIMDJSON_STRINGIFY(SIMDJSON_VERSION_MINOR); }

// Decode messages [starts[i], starts[i + 1] - 1) of a buffer padded by SIMDJSON_PADDING; ticks and checksum per message.
// Returns the number of messages that failed.
int64_t decode_all(const char *buffer, const int64_t *starts, int64_t count, int64_t capacity, const char *symbol,
                   int64_t *ticks, uint64_t *sums) {
  int64_t bad = 0;
  const size_t length = std::strlen(symbol);
  for (int64_t i = 0; i < count; ++i) {
    const char *text = buffer + starts[i];
    const size_t size = static_cast<size_t>(starts[i + 1] - 1 - starts[i]);
    const uint64_t before = __rdtsc();
    bool ok = true;
    uint64_t sum = 0;
    try {
      auto document = parser.iterate(text, size, static_cast<size_t>(capacity - starts[i]));
      ondemand::object data = document.find_field("data").get_object();
      std::string_view event = data.find_field("e").get_string();
      if (event == "depthUpdate")
        sum = depth(data, symbol, length, ok);
      else if (event == "trade")
        sum = trade(data, symbol, length, ok);
      else if (event == "bookTicker")
        sum = ticker(data, symbol, length, ok);
      else
        ok = false;
    } catch (const simdjson_error &) {
      ok = false;
    }
    ticks[i] = static_cast<int64_t>(__rdtsc() - before);
    sums[i] = sum;
    bad += ok ? 0 : 1;
  }
  return bad;
}
}
