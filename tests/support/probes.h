// A verilated top that notes when words move on the links of the machine inside it.
//
// Include it after the top's own header, then define the top's class as `Probed<Top>` and include a harness: it calls
// `eval` with `clk` low once in each cycle. Cycles count from the machine's last reset.
#include <cstdint>
#include <cstring>
#include <vector>

template <class Top>
struct Probed : Top {
    using Top::Top;
    std::vector<int64_t> moved[2];
    int64_t cycle = 0;

    void eval() {
        Top::eval();
        if (this->clk) return;
        if (this->rst || this->probe_reset) {
            moved[0].clear();
            moved[1].clear();
            cycle = 0;
            return;
        }
        if (this->probe_in) moved[0].push_back(cycle);
        if (this->probe_out) moved[1].push_back(cycle);
        ++cycle;
    }

    // Returns the number of words that moved in (0) or out (1), and writes their cycles if `cycles` is not null.
    int64_t probe(int way, int64_t* cycles) const {
        if (cycles) std::memcpy(cycles, moved[way].data(), moved[way].size() * sizeof(int64_t));
        return static_cast<int64_t>(moved[way].size());
    }
};
