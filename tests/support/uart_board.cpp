// A verilated etchnet_uart and the far end of its serial line; called from Python through ctypes.
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <memory>

#include "Vboard.h"
#include "verilated.h"

// Verilator's runtime calls it when it cannot go on.
void vl_fatal(const char*, int, const char*, const char*) { std::abort(); }

namespace {

struct Board {
    VerilatedContext context;
    std::unique_ptr<Vboard> top{new Vboard{&context}};
    double bit;             // cycles per bit at this end of the line
    int64_t cycle = 0;
    // Sending: the byte that is on the line since `began`.
    std::deque<uint8_t> to_send;
    int sending = -1;
    int64_t began = 0;
    // Receiving: a byte whose start bit fell at `fell`.
    bool receiving = false;
    int64_t fell = 0;
    int sampled = 0;
    uint32_t bits = 0;
    int64_t broken = 0;     // stop bits that were low

    explicit Board(double bit_cycles) : bit(bit_cycles) { reset(); }

    void tick() {
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
    }

    void reset() {
        top->rst = 1;
        top->rx = 1;
        for (int i = 0; i < 3; ++i) tick();
        top->rst = 0;
        receiving = false;
    }

    bool level() {
        if (sending < 0) {
            if (to_send.empty()) return true;
            sending = to_send.front();
            to_send.pop_front();
            began = cycle;
        }
        const int place = static_cast<int>((cycle - began) / bit);
        if (place >= 10) {
            sending = -1;
            return level();
        }
        return place == 0 ? false : place == 9 ? true : (sending >> (place - 1)) & 1;
    }

    // The byte that this cycle completes, or -1.
    int sample() {
        const bool line = top->tx;
        if (!receiving) {
            if (!line) receiving = true, fell = cycle, sampled = 0, bits = 0;
            return -1;
        }
        if (cycle - fell < (sampled + 0.5) * bit) return -1;
        bits |= static_cast<uint32_t>(line) << sampled;
        if (++sampled < 10) return -1;
        receiving = false;
        if (!line) return ++broken, -1;
        return (bits >> 1) & 0xff;
    }
};

}  // namespace

extern "C" {

Board* board_new(double bit) { return new Board(bit); }
void board_delete(Board* board) { delete board; }
void board_reset(Board* board) { board->reset(); }
int64_t board_cycle(const Board* board) { return board->cycle; }
int64_t board_broken(const Board* board) { return board->broken; }
int board_activity(const Board* board) { return board->top->activity; }

// Sends bytes and runs until the line has been idle in both directions for `idle` cycles; returns the bytes received.
int64_t board_run(Board* board, const uint8_t* data, int64_t count, int64_t idle, uint8_t* out, int64_t most) {
    for (int64_t i = 0; i < count; ++i) board->to_send.push_back(data[i]);
    int64_t quiet = 0, received = 0;
    while (quiet < idle && received < most) {
        board->top->rx = board->level();
        board->tick();
        const int byte = board->sample();
        if (byte >= 0) out[received++] = static_cast<uint8_t>(byte);
        quiet = board->sending >= 0 || board->receiving || !board->top->tx ? 0 : quiet + 1;
        ++board->cycle;
    }
    return received;
}
}
