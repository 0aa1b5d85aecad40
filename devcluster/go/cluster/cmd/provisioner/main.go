// Command provisioner makes PersistentVolumes for a one-node cluster: each is an ext4 file system in a
// file of exactly the requested size, loop-mounted, so a full volume really says ENOSPC. It runs as a node
// process, in the node's mount namespace. With --mount-only it mounts the volumes that exist and ends: to be
// done before the kubelet starts, which would otherwise bind an empty directory into a pod.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

type loop struct{ dir, node string }

func run(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func (l loop) image(name string) string { return filepath.Join(l.dir, name+".img") }
func (l loop) point(name string) string { return filepath.Join(l.dir, name) }

func (l loop) mount(name string) error {
	if err := os.MkdirAll(l.point(name), 0o755); err != nil {
		return err
	}
	if run("mountpoint", "-q", l.point(name)) == nil {
		return nil
	}
	return run("mount", "-o", "loop,nosuid,nodev,discard", l.image(name), l.point(name))
}

// create is safe to repeat: the image appears under its final name only when it is complete.
func (l loop) create(name string, size int64) error {
	if _, err := os.Stat(l.image(name)); err == nil {
		return l.mount(name)
	}
	part := l.image(name) + ".part"
	f, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if err = f.Truncate(size); err == nil {
		err = run("mkfs.ext4", "-q", "-m", "0", "-E", "root_owner=0:0", part)
	}
	if f.Close(); err != nil {
		return err
	}
	if err := os.Rename(part, l.image(name)); err != nil {
		return err
	}
	if err := l.mount(name); err != nil {
		return err
	}
	os.Remove(filepath.Join(l.point(name), "lost+found")) // an empty volume should look empty
	return nil
}

func (l loop) Provision(_ context.Context, o controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	if m := o.PVC.Spec.VolumeMode; m != nil && *m == core.PersistentVolumeBlock {
		return nil, controller.ProvisioningFinished, fmt.Errorf("block volumes are not offered")
	}
	q := o.PVC.Spec.Resources.Requests[core.ResourceStorage]
	if err := l.create(o.PVName, max(q.Value(), 4<<20)); err != nil {
		return nil, controller.ProvisioningFinished, err
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: o.PVName},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: q},
			AccessModes:                   o.PVC.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: l.point(o.PVName)}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{l.node}}},
			}}}},
		},
	}, controller.ProvisioningFinished, nil
}

func (l loop) Delete(_ context.Context, pv *core.PersistentVolume) error {
	if run("mountpoint", "-q", l.point(pv.Name)) == nil {
		if err := run("umount", l.point(pv.Name)); err != nil {
			return err
		}
	}
	if err := os.Remove(l.point(pv.Name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Remove(l.image(pv.Name)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return nil
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "kubeconfig file")
	dir := flag.String("dir", "", "directory for the volumes")
	node := flag.String("node", "", "value of the node's hostname label")
	name := flag.String("name", "devcluster/loop", "provisioner name")
	mountOnly := flag.Bool("mount-only", false, "mount the volumes that exist, then end")
	flag.Parse()
	l := loop{*dir, *node}
	images, _ := filepath.Glob(l.image("*"))
	for _, i := range images {
		if err := l.mount(strings.TrimSuffix(filepath.Base(i), ".img")); err != nil {
			log.Fatal(err)
		}
	}
	if *mountOnly {
		return
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	controller.NewProvisionController(ctx, kubernetes.NewForConfigOrDie(cfg), *name, l, controller.LeaderElection(false)).Run(ctx)
}
