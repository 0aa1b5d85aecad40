<h1><?= 'HELLO ONE' ?></h1>
