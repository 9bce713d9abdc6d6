// Rivals of hftpipe/core/ring.py, over the same shared memory and in the same forked processes.
//
//   Twin     the same algorithm and layout: sequence in the slot, counters in memory, the other side's last known
//   Index    head and tail indices on lines of their own, each side caching the other's; masked power-of-two slots
//   Rigtorp  the index queue as in rigtorp/SPSCQueue: positions compared and wrapped, one slot of slack, padded ends
//
// Each queue has claim / publish / peek / pop; each loop below is compiled once per queue.
#include "twin_ring.hpp"

struct Index {
    alignas(64) u64 mask;
    u64 capacity;
    alignas(64) Word head;
    u64 known_tail;
    alignas(64) Word tail;
    u64 known_head;
    alignas(64) Slot slots[1];

    void init(u64 size) { mask = size - 1, capacity = size; }

    u64* claim() {
        const u64 at = head.load(relaxed);
        if (at - known_tail >= capacity) {
            known_tail = tail.load(acquire);
            if (at - known_tail >= capacity) return nullptr;
        }
        return slots[at & mask].payload;
    }
    void publish() { head.store(head.load(relaxed) + 1, release); }
    u64* peek() {
        const u64 at = tail.load(relaxed);
        if (at == known_head) {
            known_head = head.load(acquire);
            if (at == known_head) return nullptr;
        }
        return slots[at & mask].payload;
    }
    void pop() { tail.store(tail.load(relaxed) + 1, release); }
};

struct Rigtorp {
    alignas(64) u64 capacity;
    alignas(64) Word write_at;
    alignas(64) u64 known_read;
    alignas(64) Word read_at;
    alignas(64) u64 known_write;
    alignas(64) Slot slots[2];

    void init(u64 size) { capacity = size + 1; }
    u64 after(u64 at) const { return at + 1 == capacity ? 0 : at + 1; }

    u64* claim() {
        const u64 at = write_at.load(relaxed), next = after(at);
        if (next == known_read) {
            known_read = read_at.load(acquire);
            if (next == known_read) return nullptr;
        }
        return slots[at + 1].payload;
    }
    void publish() { write_at.store(after(write_at.load(relaxed)), release); }
    u64* peek() {
        const u64 at = read_at.load(relaxed);
        if (at == known_write) {
            known_write = write_at.load(acquire);
            if (at == known_write) return nullptr;
        }
        return slots[at + 1].payload;
    }
    void pop() { read_at.store(after(read_at.load(relaxed)), release); }
};

inline void fill(u64* payload, u64 number) {
    for (int word = 0; word < 7; ++word) payload[word] = number + word;
}

inline bool intact(const u64* payload, u64 number) {
    u64 wrong = 0;
    for (int word = 0; word < 7; ++word) wrong |= payload[word] ^ (number + word);
    return wrong == 0;
}

template <class Queue>
i64 ping(Queue& out, Queue& back, i64 warm_up, i64 count, i64* ticks) {
    i64 wrong = 0;
    for (i64 number = -warm_up; number < count; ++number) {
        const u64 before = __rdtsc();
        fill(out.claim(), u64(number));
        out.publish();
        u64* payload;
        while (!(payload = back.peek())) {
        }
        wrong += !intact(payload, u64(number));
        back.pop();
        const u64 after = __rdtsc();
        if (number >= 0) ticks[number] = i64(after - before);
    }
    return wrong;
}

template <class Queue>
i64 echo(Queue& in, Queue& back, i64 count) {
    for (i64 number = 0; number < count; ++number) {
        u64* payload;
        while (!(payload = in.peek())) {
        }
        std::memmove(back.claim(), payload, 56);
        back.publish();
        in.pop();
    }
    return 0;
}

template <class Queue>
i64 produce(Queue& out, i64 count) {
    for (i64 number = 0; number < count; ++number) {
        u64* payload;
        while (!(payload = out.claim())) {
        }
        fill(payload, u64(number));
        out.publish();
    }
    return 0;
}

// Reads `chunks` times `size` records; ticks[c] is the time-stamp counter after chunk c. Returns the damaged records.
template <class Queue>
i64 consume(Queue& in, i64 chunks, i64 size, i64* ticks) {
    i64 wrong = 0, number = 0;
    for (i64 chunk = 0; chunk < chunks; ++chunk) {
        for (i64 i = 0; i < size; ++i, ++number) {
            u64* payload;
            while (!(payload = in.peek())) {
            }
            wrong += !intact(payload, u64(number));
            in.pop();
        }
        ticks[chunk] = i64(__rdtsc());
    }
    return wrong;
}

#define EXPORT(name, Queue)                                                                                        \
    extern "C" void name##_init(void* q, i64 size) { static_cast<Queue*>(q)->init(u64(size)); }                    \
    extern "C" i64 name##_ping(void* a, void* b, i64 warm_up, i64 count, i64* ticks) {                             \
        return ping(*static_cast<Queue*>(a), *static_cast<Queue*>(b), warm_up, count, ticks);                      \
    }                                                                                                              \
    extern "C" i64 name##_echo(void* a, void* b, i64 count) {                                                      \
        return echo(*static_cast<Queue*>(a), *static_cast<Queue*>(b), count);                                      \
    }                                                                                                              \
    extern "C" i64 name##_produce(void* a, i64 count) { return produce(*static_cast<Queue*>(a), count); }          \
    extern "C" i64 name##_consume(void* a, i64 chunks, i64 size, i64* ticks) {                                     \
        return consume(*static_cast<Queue*>(a), chunks, size, ticks);                                              \
    }

EXPORT(twin, Twin)
EXPORT(index, Index)
EXPORT(rigtorp, Rigtorp)
