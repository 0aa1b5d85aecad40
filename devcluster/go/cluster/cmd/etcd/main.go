// Command etcd runs one etcd member, through etcd's embed package, for a
// throw-away single-node cluster. It listens only where it is told to.
package main

import (
	"flag"
	"log"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	dir := flag.String("data-dir", "", "data directory")
	client := flag.String("client", "http://127.0.0.1:2379", "client URL")
	peer := flag.String("peer", "http://127.0.0.1:2380", "peer URL")
	noFsync := flag.Bool("unsafe-no-fsync", true, "skip fsync (data need not survive a power cut)")
	flag.Parse()

	at := func(s string) []url.URL {
		u, err := url.Parse(s)
		if err != nil {
			log.Fatal(err)
		}
		return []url.URL{*u}
	}
	c := embed.NewConfig()
	c.Name, c.Dir, c.LogLevel = "dev", *dir, "warn"
	c.ListenClientUrls, c.AdvertiseClientUrls = at(*client), at(*client)
	c.ListenPeerUrls, c.AdvertisePeerUrls = at(*peer), at(*peer)
	c.InitialCluster = c.InitialClusterFromName(c.Name)
	c.UnsafeNoFsync = *noFsync
	e, err := embed.StartEtcd(c)
	if err != nil {
		log.Fatal(err)
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt, syscall.SIGTERM)
	select {
	case <-stop:
		e.Close()
	case err = <-e.Err():
		log.Fatal(err)
	}
}
