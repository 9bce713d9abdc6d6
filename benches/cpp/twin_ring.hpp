// The ring of hftpipe/core/shared/ring.py in C++: the same algorithm and layout, byte for byte.
#pragma once
#include <atomic>
#include <cstdint>
#include <cstring>
#include <x86intrin.h>

using u64 = uint64_t;
using i64 = int64_t;
using Word = std::atomic<u64>;

constexpr auto relaxed = std::memory_order_relaxed;
constexpr auto acquire = std::memory_order_acquire;
constexpr auto release = std::memory_order_release;

struct alignas(64) Slot {
    Word seq;
    u64 payload[7];
};

struct Twin {
    alignas(64) u64 mask;
    u64 capacity;
    alignas(64) Word next_in;
    u64 known_out;
    u64 refused;
    alignas(64) Word next_out;
    alignas(64) Slot slots[1];

    void init(u64 size) { mask = size - 1, capacity = size; }

    u64* claim() {
        const u64 index = next_in.load(relaxed);
        if (index - known_out >= capacity) {
            known_out = next_out.load(acquire);
            if (index - known_out >= capacity) {
                ++refused;
                return nullptr;
            }
        }
        return slots[index & mask].payload;
    }
    void publish() {
        const u64 index = next_in.load(relaxed);
        slots[index & mask].seq.store(index + 1, release);
        next_in.store(index + 1, release);
    }
    u64* peek() {
        const u64 index = next_out.load(relaxed);
        Slot& slot = slots[index & mask];
        return slot.seq.load(acquire) == index + 1 ? slot.payload : nullptr;
    }
    void pop() { next_out.store(next_out.load(relaxed) + 1, release); }
};
