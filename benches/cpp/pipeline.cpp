// The twin of benches/test_pipeline.py: the same rings, hops and CPUs as the product with two processes, and no work.
//
//   near (CPU 0): injector -> market ring, sim ring, top cell;  market ring -> intents ring;  updates ring -> nothing
//   far  (CPU 1): intents ring, top cell -> orders ring (stamp);  orders ring -> reports ring -> updates ring;  sim ring
//
// Everything that the product sends between the processes is sent, and every line that one reads of the other is read:
// two records and a cell for each tick, one intent, one order, as many reports as the paper exchange gives, one update
// each, and how far the market has been read, which risk hands on to the exchange. Nothing is judged, booked or counted.
#include "twin_ring.hpp"

#include <algorithm>

struct alignas(64) Cell {
    Word version;
    Word words[7];
};

struct Rings {
    Twin *market, *sim, *intents, *orders, *reports, *updates;
    Cell* top;
};

struct Plan {
    u64 period, begin, end;
    i64 from_intended, reports;
};

// Places in a record's payload (words behind the sequence), as in the product's RECORD.
constexpr int PRICE = 0, QTY = 1, ID = 2, ORIGIN = 3;
constexpr u64 LAST = u64(1) << 63;
constexpr int MOST = 256;

// A ring that is full because the other side has lost its CPU drops the record, as the product refuses the order.
static bool put(Twin& ring, const u64* payload) {
    u64* slot = ring.claim();
    if (!slot) return false;
    std::memcpy(slot, payload, 56);
    ring.publish();
    return true;
}

static bool has_space(Twin& ring, u64 count) {
    if (ring.capacity - (ring.next_in.load(relaxed) - ring.known_out) < count) ring.known_out = ring.next_out.load(acquire);
    return ring.capacity - (ring.next_in.load(relaxed) - ring.known_out) >= count;
}

static void write_cell(Cell& cell, const u64* words) {
    const u64 version = cell.version.load(relaxed);
    cell.version.store(version + 1, relaxed);
    std::atomic_thread_fence(release);
    for (int word = 0; word < 7; ++word) cell.words[word].store(words[word], relaxed);
    cell.version.store(version + 2, release);
}

static u64 read_cell(const Cell& cell, u64* words) {
    for (;;) {
        const u64 version = cell.version.load(acquire);
        if (version & 1) continue;
        for (int word = 0; word < 7; ++word) words[word] = cell.words[word].load(relaxed);
        std::atomic_thread_fence(acquire);
        if (cell.version.load(relaxed) == version) return version;
    }
}

// Injector and strategy until the plan's end: how many ticks were sent.
extern "C" i64 near_side(const Rings* rings, const Plan* plan, i64* skipped) {
    u64 next = plan->begin, id = 0, record[7] = {};
    i64 sent = 0;
    for (u64 now = __rdtsc(); now < plan->end; now = __rdtsc()) {
        i64 work = 0;
        if (now >= next) {
            record[ORIGIN] = plan->from_intended ? next : now;
            next += plan->period;
            ++work;
            if (has_space(*rings->market, 2) && has_space(*rings->sim, 2)) {
                record[ID] = ++id, record[PRICE] = 60'000 + id, record[QTY] = 1;
                write_cell(*rings->top, record);
                for (Twin* ring : {rings->market, rings->sim}) {
                    record[6] = 0, put(*ring, record);
                    record[6] = LAST, put(*ring, record);
                }
                ++sent;
            } else {
                ++*skipped;
            }
        }
        u64* slot;
        for (int done = 0; done < MOST && (slot = rings->updates->peek()); ++done, ++work) rings->updates->pop();
        for (int done = 0; done < MOST && (slot = rings->market->peek()); ++done, ++work) {
            if (slot[6] & LAST) put(*rings->intents, slot);
            rings->market->pop();
        }
        if (work == 0) _mm_pause();
    }
    return sent;
}

// Risk and gateway until a while after the plan's end: how many orders were approved, their ticks from origin on in `ticks`.
extern "C" i64 far_side(const Rings* rings, const Plan* plan, u64 grace, i64* ticks, i64 most) {
    u64 top[7], progress = 0, seen = 0;
    i64 approved = 0;
    for (u64 now = __rdtsc(); now < plan->end + grace; now = __rdtsc()) {
        i64 work = 0;
        u64* slot;
        const u64 consumed = rings->market->next_out.load(acquire);
        for (int done = 0; done < MOST && (slot = rings->reports->peek()); ++done, ++work) {
            put(*rings->updates, slot);
            rings->reports->pop();
        }
        for (int done = 0; done < MOST && (slot = rings->intents->peek()); ++done, ++work) {
            seen += read_cell(*rings->top, top);
            if (u64* order = rings->orders->claim()) {
                std::memcpy(order, slot, 56);
                const i64 taken = i64(__rdtsc() - slot[ORIGIN]);
                rings->orders->publish();
                if (approved < most) ticks[approved] = taken;
                ++approved;
            }
            rings->intents->pop();
        }
        progress = consumed;
        for (int done = 0; done < MOST && (slot = rings->orders->peek()); ++done, ++work) {
            for (i64 report = 0; report < plan->reports; ++report) put(*rings->reports, slot);
            rings->orders->pop();
        }
        for (int done = 0; done < 2 * MOST && rings->sim->next_out.load(relaxed) < progress && rings->sim->peek(); ++done, ++work) {
            rings->sim->pop();
        }
        if (work == 0) _mm_pause();
    }
    return seen == 0 ? -1 : std::min(approved, most);
}
