// The floor of any UDP tick-to-trade on this machine: busy-poll one socket, answer each datagram, do no work.
#include <cerrno>
#include <cstdint>
#include <sys/socket.h>

// Echoes until *stop is not 0: each datagram of the connected socket `in` is answered with `reply_length` bytes on `out`.
extern "C" int64_t udp_echo(int in, int out, int64_t reply_length, volatile uint64_t* stop) {
    char data[2048] = {0};
    int64_t count = 0;
    while (*stop == 0) {
        ssize_t got = recv(in, data, sizeof data, MSG_DONTWAIT);
        if (got < 0) {
            __builtin_ia32_pause();
            continue;
        }
        send(out, data, static_cast<size_t>(reply_length), MSG_DONTWAIT | MSG_NOSIGNAL);
        ++count;
    }
    return count;
}
