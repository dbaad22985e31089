<?php
// Hashes as PHP makes them: passwords as a JSON list on standard input, a JSON object on standard output, the name of
// each kind and a hash for each password.
$kinds = [
    'php default' => fn ($password) => password_hash($password, PASSWORD_DEFAULT, ['cost' => 5]),
    'php crypt $2a$' => fn ($password) => crypt($password, '$2a$05$' . substr(strtr(base64_encode(random_bytes(18)), '+', '.'), 0, 22)),
];
if (defined('PASSWORD_ARGON2ID')) {
    $cheap = ['memory_cost' => 1024, 'time_cost' => 2, 'threads' => 1];
    $kinds['php argon2id'] = fn ($password) => password_hash($password, PASSWORD_ARGON2ID, $cheap);
    $kinds['php argon2i'] = fn ($password) => password_hash($password, PASSWORD_ARGON2I, $cheap);
}
$passwords = json_decode(stream_get_contents(STDIN), true, 512, JSON_THROW_ON_ERROR);
echo json_encode(array_map(fn ($make) => array_map($make, $passwords), $kinds), JSON_THROW_ON_ERROR);
