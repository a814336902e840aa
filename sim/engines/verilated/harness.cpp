// Drives a verilated Etchnet through its two links; called from Python through ctypes.
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "Vetchnet.h"
#include "verilated.h"
#if VM_TRACE
#include "verilated_vcd_c.h"
#endif

namespace {

// What Verilator's runtime could not do: an error number, and a message.
thread_local int failure = 0;
thread_local std::string failure_message;

}  // namespace

// Called when the runtime cannot go on, for example because it cannot write waveforms. Its own version of this function
// (left out by VL_USER_FATAL) ends the process, or waits forever for the file that it is writing.
void vl_fatal(const char*, int, const char*, const char* message) {
    failure = errno ? errno : EIO;
    failure_message = message;
}

namespace {

constexpr int kLanes = LINK_BITS / 32;

void put(IData& port, const uint32_t* word) { port = word[0]; }
void put(QData& port, const uint32_t* word) { port = word[0] | static_cast<QData>(word[1]) << 32; }
template <std::size_t N>
void put(VlWide<N>& port, const uint32_t* word) {
    for (std::size_t i = 0; i < N; ++i) port[i] = word[i];
}

void get(const IData& port, uint32_t* word) { word[0] = port; }
void get(const QData& port, uint32_t* word) {
    word[0] = static_cast<uint32_t>(port);
    word[1] = static_cast<uint32_t>(port >> 32);
}
template <std::size_t N>
void get(const VlWide<N>& port, uint32_t* word) {
    for (std::size_t i = 0; i < N; ++i) word[i] = port[i];
}

// When one end of a link is ready: one byte for each cycle since reset. After the last of them it is always ready.
struct Pattern {
    const uint8_t* bytes = nullptr;
    int64_t count = 0;
    bool ready(int64_t cycle) const { return cycle >= count || bytes[cycle]; }
};

struct Machine {
    VerilatedContext context;
    std::unique_ptr<Vetchnet> top{new Vetchnet{&context}};
#if VM_TRACE
    std::unique_ptr<VerilatedVcdC> waveforms;
#endif
    int64_t cycle = 0;
    int64_t last_moved = 0;
    bool offering = false;
    Pattern offers, accepts;

    const uint32_t* words = nullptr;
    int64_t to_send = 0, sent = 0;
    uint32_t* results = nullptr;
    int64_t to_receive = 0, received = 0;
    int64_t* sent_cycles = nullptr;
    int64_t* received_cycles = nullptr;

    Machine() {
        top->clk = 0;
        top->rst = 1;
        top->link_in_valid = 0;
        top->link_out_ready = 0;
        for (int i = 0; i < 2; ++i) tick();
        top->rst = 0;
    }

    void tick() {
        top->clk = 0;
        top->eval();
        top->clk = 1;
        top->eval();
    }

    bool done() const { return sent == to_send && received == to_receive; }

    void step() {
        offering = sent < to_send && (offering || offers.ready(cycle));
        const bool accepting = received < to_receive && accepts.ready(cycle);
        top->link_in_valid = offering;
        if (offering) put(top->link_in_payload, words + sent * kLanes);
        top->link_out_ready = accepting;
        top->clk = 0;
        top->eval();
        const bool taken = offering && top->link_in_ready;
        const bool given = accepting && top->link_out_valid;
        if (given) {
            get(top->link_out_payload, results + received * kLanes);
            received_cycles[received++] = cycle;
        }
        if (taken) {
            sent_cycles[sent++] = cycle;
            offering = false;
        }
        if (taken || given) last_moved = cycle;
        // At time 2 t every signal has its value of cycle t; at 2 t + 1 the clock edge that ends the cycle has passed.
        dump(2 * cycle);
        top->clk = 1;
        top->eval();
        dump(2 * cycle + 1);
        ++cycle;
    }

    void dump(int64_t time) {
#if VM_TRACE
        if (waveforms) waveforms->dump(static_cast<uint64_t>(time));
#endif
    }
};

}  // namespace

extern "C" {

Machine* etchnet_new(const uint8_t* offers, int64_t offers_count, const uint8_t* accepts, int64_t accepts_count) {
    auto* machine = new Machine;
    machine->offers = {offers, offers_count};
    machine->accepts = {accepts, accepts_count};
    return machine;
}

#if VM_TRACE
// Starts to write waveforms to a file; returns 0, or the error number if it cannot be written.
int etchnet_trace(Machine* machine, const char* path) {
    failure = errno = 0;
    machine->context.traceEverOn(true);
    machine->waveforms.reset(new VerilatedVcdC);
    machine->top->trace(machine->waveforms.get(), 99);
    machine->waveforms->open(path);
    if (machine->waveforms->isOpen()) return 0;
    return failure ? failure : errno ? errno : EIO;
}
#endif

// Returns the error number if the waveforms cannot be completed, else 0.
int etchnet_delete(Machine* machine) {
    failure = 0;
#if VM_TRACE
    if (machine->waveforms) machine->waveforms->close();
#endif
    delete machine;
    return failure;
}

// The error number and message of the last run of this thread that returned -2.
int etchnet_failure(const char** message) {
    *message = failure_message.c_str();
    return failure;
}

int64_t etchnet_cycle(const Machine* machine) { return machine->cycle; }

void etchnet_begin(Machine* machine, const uint32_t* words, int64_t to_send, uint32_t* results, int64_t to_receive,
                   int64_t* sent_cycles, int64_t* received_cycles) {
    machine->words = words;
    machine->to_send = to_send;
    machine->results = results;
    machine->to_receive = to_receive;
    machine->sent_cycles = sent_cycles;
    machine->received_cycles = received_cycles;
    machine->sent = machine->received = 0;
    machine->last_moved = machine->cycle;
}

// Runs until every word has moved (returns 1), `cycles` have passed (0), none has moved for `patience` cycles (-1), or
// Verilator's runtime failed (-2).
int etchnet_run(Machine* machine, int64_t cycles, int64_t patience) {
    failure = 0;
    for (int64_t i = 0; i < cycles && !machine->done(); ++i) {
        if (machine->cycle - machine->last_moved > patience) return -1;
        errno = 0;
        machine->step();
        if (failure) return -2;
    }
    return machine->done();
}

void etchnet_progress(const Machine* machine, int64_t* sent, int64_t* received) {
    *sent = machine->sent;
    *received = machine->received;
}
}
