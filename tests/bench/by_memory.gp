# Draws what `by_memory` prints, as figures.sh does:  build/tests/bench/by_memory >m.dat && gnuplot -e 'data="m.dat"' tests/bench/by_memory.gp >m.svg
# cloister's lines are the thick ones.
set terminal svg size 860,420 font "sans-serif,13" background "white" noenhanced
set key outside right center reverse Left
set title "Starting a child, by the memory of its parent"
set xlabel "MiB resident in the parent"
set logscale y
set ytics ("100 µs" 100, "1 ms" 1e3, "10 ms" 1e4, "100 ms" 1e5, "1 s" 1e6)
set mytics 10
set grid ytics
set xtics ("0" 0, "64" 1, "256" 2, "1024" 3, "4096" 4)
set xrange [-0.2:4.2]
stats data using 1 skip 1 nooutput
columns = int(system("head -n 1 ".data." | tr -cd '\"' | wc -c")) / 2 - 1
name(i) = system(sprintf("head -n 1 %s | cut -d '\"' -f %d", data, 2 * i))
width(i) = strstrt(name(i), "cloister") == 1 ? 3 : 1.5
colour(i) = word("#000000 #777777 #b8860b #009988 #0077bb #cc3311 #aa4499 #8b4513 #66aa22", i - 1)
plot for [i=2:columns+1] data using 0:i skip 1 with linespoints lw width(i) pt 7 ps 0.6 lc rgb colour(i) title name(i)
