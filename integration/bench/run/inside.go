package main

var insidePlayers = map[string]func(*session){}
