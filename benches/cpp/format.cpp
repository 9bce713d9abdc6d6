// Rivals of hftpipe/core/trading/amounts.py: a price and a quantity of one instrument as text, checked against its step.
//
//   charconv  std::to_chars of what is before and behind the point
//   snprintf  "%llu.%0*llu", what most programs do
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <x86intrin.h>

using u64 = uint64_t;
using i64 = int64_t;

struct Step {
    u64 step;
    i64 decimals;
};

constexpr u64 SCALE = 100'000'000;
constexpr u64 POWERS[] = {1, 10, 100, 1'000, 10'000, 100'000, 1'000'000, 10'000'000, 100'000'000};

struct Charconv {
    static char* write(char* at, u64 whole, u64 part, i64 decimals) {
        at = std::to_chars(at, at + 24, whole).ptr;
        if (decimals == 0) return at;
        *at = '.';
        char* end = at + 1 + decimals;
        // Leading zeros: the part stands behind a 1, which the point then takes the place of.
        std::to_chars(at, at + 12, part + POWERS[decimals]);
        *at = '.';
        return end;
    }
};

struct Snprintf {
    static char* write(char* at, u64 whole, u64 part, i64 decimals) {
        if (decimals == 0) return at + std::snprintf(at, 24, "%llu", (unsigned long long)whole);
        return at + std::snprintf(at, 24, "%llu.%0*llu", (unsigned long long)whole, int(decimals), (unsigned long long)part);
    }
};

template <class Writer>
char* amount(char* at, i64 value, const Step& step) {
    if (value <= 0 || u64(value) % step.step != 0) return nullptr;
    return Writer::write(at, u64(value) / SCALE, u64(value) % SCALE / POWERS[8 - step.decimals], step.decimals);
}

// `values`: instrument, price and quantity by row; `steps`: price and quantity by instrument. Returns the bytes written.
template <class Writer>
i64 run(const i64* values, const Step* steps, i64 count, char* text, i64* ticks) {
    i64 bytes = 0;
    unsigned aux;
    for (i64 index = 0; index < count; ++index) {
        const i64* row = values + 3 * index;
        const Step* own = steps + 2 * row[0];
        const u64 begun = __rdtsc();
        char* middle = amount<Writer>(text, row[1], own[0]);
        char* end = middle ? amount<Writer>(middle, row[2], own[1]) : nullptr;
        ticks[index] = i64(__rdtscp(&aux) - begun);
        bytes += end ? end - text : 0;
    }
    return bytes;
}

#define EXPORT(name, Writer)                                                                             \
    extern "C" i64 name(const i64* values, const Step* steps, i64 count, char* text, i64* ticks) {       \
        return run<Writer>(values, steps, count, text, ticks);                                           \
    }

EXPORT(charconv_run, Charconv)
EXPORT(snprintf_run, Snprintf)
