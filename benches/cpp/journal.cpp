// A journal entry as C++ would write it: the same 64 bytes, the same checksum, into the same kind of file.
#include <cstdint>
#include <x86intrin.h>

extern "C" void append_many(std::uint64_t at, std::uint64_t count, std::uint64_t seed, std::int64_t* samples) {
  unsigned aux;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::uint64_t start = __rdtsc();
    const std::uint64_t words[7] = {1, i, 60000, 100, 3, 4, 0x0000000010000001u};
    std::uint64_t crc = _mm_crc32_u64(seed, i + 1);
    for (std::uint64_t word : words) crc = _mm_crc32_u64(crc, word);
    auto* slot = reinterpret_cast<volatile std::uint64_t*>(at);
    for (int k = 0; k < 7; ++k) slot[k + 1] = words[k];
    __atomic_store_n(reinterpret_cast<std::uint64_t*>(at), crc | (i + 1) << 32, __ATOMIC_RELEASE);
    at += 64;
    samples[i] = static_cast<std::int64_t>(__rdtscp(&aux) - start);
  }
}
