// Package local has what the programs of both venues share: a book by price, the venue's control endpoint, and the answer.
package local

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"
)

const (
	most     = 60 * time.Second
	patience = 20 * time.Second
	often    = 20 * time.Millisecond
	settling = 600 * time.Millisecond
)

// Begin ends the program with an error once it has taken too long.
func Begin() {
	time.AfterFunc(most, func() { Must(fmt.Errorf("not done within %v", most)) })
}

// Must ends the program with what is wrong, if anything is.
func Must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Had is the value of a call that must succeed.
func Had[T any](value T, err error) T {
	Must(err)
	return value
}

// Tell prints the answer.
func Tell(answer map[string]any) {
	fmt.Println(string(Had(json.Marshal(answer))))
}

// Far is a price to buy at that nobody sells at.
func Far(bid string) string {
	return strconv.Itoa(int(Had(strconv.ParseFloat(bid, 64))) - 50)
}

// Above is a price to buy at that somebody sells at.
func Above(ask string) string {
	return strconv.Itoa(int(Had(strconv.ParseFloat(ask, 64))) + 50)
}

// Freeze stops the market of the venue on a port, and waits for the last of what it has said.
func Freeze(port string) {
	body := bytes.NewBufferString(`{"freeze": true}`)
	answer := Had(http.Post("http://127.0.0.1:"+port+"/control", "application/json", body))
	Must(answer.Body.Close())
	time.Sleep(settling)
}

// Kept is what has been heard, by whichever goroutine.
type Kept[T any] struct {
	lock sync.Mutex
	all  []T
}

// Add keeps one more.
func (kept *Kept[T]) Add(one T) {
	kept.lock.Lock()
	defer kept.lock.Unlock()
	kept.all = append(kept.all, one)
}

// All is a copy of what there is.
func (kept *Kept[T]) All() []T {
	kept.lock.Lock()
	defer kept.lock.Unlock()
	return append([]T{}, kept.all...)
}

// Wait waits until some of what is kept is what is waited for.
func (kept *Kept[T]) Wait(what string, is func(T) bool) {
	until(what, func() bool {
		for _, one := range kept.All() {
			if is(one) {
				return true
			}
		}
		return false
	})
}

// Fill waits until so many have been heard.
func (kept *Kept[T]) Fill(what string, count int) {
	until(what, func() bool { return len(kept.All()) >= count })
}

func until(what string, happened func() bool) {
	for deadline := time.Now().Add(patience); !happened(); time.Sleep(often) {
		if time.Now().After(deadline) {
			Must(fmt.Errorf("not heard within %v: %s", patience, what))
		}
	}
}

// Level is a price and the quantity at it.
type Level struct{ Price, Qty string }

// Side is the quantities of one side of a book by price.
type Side map[string]string

// Set takes what has changed.
func (side Side) Set(levels []Level) {
	for _, level := range levels {
		if Had(strconv.ParseFloat(level.Qty, 64)) == 0 {
			delete(side, level.Price)
		} else {
			side[level.Price] = level.Qty
		}
	}
}
