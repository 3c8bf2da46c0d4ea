package bench

import (
	"os"
	"syscall"
	"time"
	"unsafe"
)

// sleeper waits until a time, to some microseconds. The runtime's own timers wait
// in epoll_wait, which counts whole milliseconds: at ten thousand requests a second
// most would be sent late, and their latency be the load generator's.
type sleeper struct {
	timer *os.File
	told  [8]byte
}

// newSleeper makes a timer of the kernel (timerfd_create(2)) that the runtime's
// poller waits for.
func newSleeper() (*sleeper, error) {
	const monotonic = 1 // CLOCK_MONOTONIC
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, monotonic, syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if errno != 0 {
		return nil, os.NewSyscallError("timerfd_create", errno)
	}
	return &sleeper{timer: os.NewFile(fd, "timer")}, nil
}

func (s *sleeper) until(t time.Time) error {
	wait := time.Until(t)
	if wait <= 0 {
		return nil
	}
	raw, err := s.timer.SyscallConn()
	if err != nil {
		return err
	}
	// struct itimerspec: the interval, 0 for once, and the time to wait.
	spec := [2]syscall.Timespec{1: syscall.NsecToTimespec(wait.Nanoseconds())}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0)
	})
	if errno != 0 {
		err = os.NewSyscallError("timerfd_settime", errno)
	}
	if err == nil {
		_, err = s.timer.Read(s.told[:])
	}
	return err
}

func (s *sleeper) close() { _ = s.timer.Close() }

// processorTime is what a process has had of the processors, its threads that have
// ended included. It is 0 for a process that there is not.
func processorTime(pid int) time.Duration {
	if pid == 0 {
		return 0 // else it would be our own
	}
	const scheduled = 2 // CPUCLOCK_SCHED: to the nanosecond (clock_getcpuclockid(3))
	var spent syscall.Timespec
	_, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, uintptr(^pid<<3|scheduled), uintptr(unsafe.Pointer(&spent)), 0)
	if errno != 0 {
		return 0
	}
	return time.Duration(spent.Nano())
}
