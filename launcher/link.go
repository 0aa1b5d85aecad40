package main

import (
	"encoding/binary"
	"os"
	"syscall"
	"time"
)

// After a lost connection the next is tried at once, then less and less often.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = time.Second
)

// link is the connection to the agent.
type link struct {
	port        int
	fd          int       // -1 while there is none
	connectedAt time.Time // not set while it is being made
	greeting    []byte    // what is left of hello
	inbox       []byte    // what came, without the frames that were obeyed
	writing     bool      // epoll tells when more can be written
	retry       time.Duration
	retryAt     time.Time
}

func newLink(port int) link { return link{port: port, fd: -1, retry: firstRetry} }

type hello struct {
	Type      string    `json:"type"`
	Pid       int       `json:"pid"`
	Running   []told    `json:"running"`
	Isolation isolation `json:"isolation"`
}

func (l *launcher) connect() {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		l.tryLater()
		return
	}
	l.link.fd = fd
	l.link.connectedAt = time.Time{}
	syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	err = syscall.Connect(fd, &syscall.SockaddrInet4{Port: l.link.port, Addr: [4]byte{127, 0, 0, 1}})
	if err == nil || err == syscall.EINPROGRESS {
		l.link.writing = true
		err = l.register(fd, syscall.EPOLLIN|syscall.EPOLLOUT, l.onSocket)
	}
	if err != nil {
		l.disconnect()
	}
}

func (l *launcher) disconnect() {
	if !l.link.connectedAt.IsZero() && time.Since(l.link.connectedAt) > lastRetry {
		l.link.retry = firstRetry
	}
	l.forget(l.link.fd)
	l.link.fd = -1
	l.link.connectedAt = time.Time{}
	l.link.inbox, l.link.greeting = nil, nil
	l.tryLater()
}

func (l *launcher) tryLater() {
	l.link.retryAt = time.Now().Add(l.link.retry)
	l.link.retry *= 2
	if l.link.retry > lastRetry {
		l.link.retry = lastRetry
	}
}

func (l *launcher) onSocket(events uint32) {
	if l.link.connectedAt.IsZero() {
		if failed, err := syscall.GetsockoptInt(l.link.fd, syscall.SOL_SOCKET, syscall.SO_ERROR); err != nil || failed != 0 {
			l.disconnect()
			return
		}
		l.link.connectedAt = time.Now()
		l.outbox.reopen()
		l.link.greeting = controlFrame(hello{"hello", os.Getpid(), l.outbox.told, l.measured})
	}
	if events&^syscall.EPOLLOUT != 0 {
		l.receive()
	}
}

// flush hands to the kernel what it takes.
func (l *launcher) flush() {
	if l.link.fd < 0 || l.link.connectedAt.IsZero() {
		return
	}
	for len(l.link.greeting) > 0 || !l.outbox.empty() {
		next := l.link.greeting
		if len(next) == 0 {
			next = l.piece[:l.outbox.fill(l.piece[:])]
		}
		count, err := send(l.link.fd, next)
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			l.disconnect()
			return
		}
		if len(l.link.greeting) > 0 {
			l.link.greeting = l.link.greeting[count:]
		} else {
			l.outbox.advance(count)
		}
	}
	writing := len(l.link.greeting) > 0 || !l.outbox.empty()
	if writing != l.link.writing {
		events := uint32(syscall.EPOLLIN)
		if writing {
			events |= syscall.EPOLLOUT
		}
		l.link.writing = writing
		syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_MOD, l.link.fd, &syscall.EpollEvent{Events: events, Fd: int32(l.link.fd)})
	}
}

func send(fd int, text []byte) (int, error) {
	for {
		count, err := syscall.SendmsgN(fd, text, nil, nil, syscall.MSG_NOSIGNAL)
		if err != syscall.EINTR {
			return count, err
		}
	}
}

func (l *launcher) receive() {
	count, err := syscall.Read(l.link.fd, l.piece[:])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if err != nil || count == 0 {
		l.disconnect()
		return
	}
	l.link.inbox = append(l.link.inbox, l.piece[:count]...)
	left, understood := obeyFrames(l.link.inbox, l)
	if !understood {
		// whoever has taken the agent's port: it ends the connection, not the launcher
		l.disconnect()
		return
	}
	if len(left) == 0 {
		l.link.inbox = nil
	} else {
		l.link.inbox = left
	}
}

// obeyFrames cuts frames from what came, and has each control frame obeyed. It returns what is left of an incomplete one, and false
// for what makes no sense.
func obeyFrames(came []byte, by obeying) (left []byte, understood bool) {
	for len(came) >= headerBytes {
		length := int(binary.BigEndian.Uint32(came))
		if length < 1 || length > maxFrame {
			return nil, false
		}
		if len(came) < 4+length {
			break
		}
		kind, payload := came[4], came[headerBytes:4+length]
		came = came[4+length:]
		if kind == kindControl && obey(payload, by) != nil {
			return nil, false
		}
	}
	return came, true
}
